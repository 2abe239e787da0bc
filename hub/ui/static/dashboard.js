// Keeps the page up to date: fetches the same address again and exchanges <main> when it has changed.
// Text never becomes markup here; the server has escaped it.

const PERIOD_MS = 2000;
const state = document.getElementById("state");
let last = null;

function localise(root) {
  for (const time of root.querySelectorAll("time")) {
    const moment = new Date(time.dateTime);
    time.textContent = moment.toLocaleString();
    time.title = time.dateTime;
  }
}

async function refresh() {
  const main = document.querySelector("main");
  if (document.hidden || !main.hasAttribute("data-refresh")) return;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" } });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const text = await answer.text();
    state.textContent = "";
    if (text === last) return;
    last = text;
    const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("main");
    localise(fresh);
    main.replaceWith(document.adoptNode(fresh));
  } catch (error) {
    state.textContent = `The hub does not answer (${error.message}); trying again.`;
  }
}

async function keep() {
  await refresh();
  setTimeout(keep, PERIOD_MS);
}

localise(document);
setTimeout(keep, PERIOD_MS);
document.addEventListener("visibilitychange", refresh);
