"""Labels: what is accepted, and how a filter looks for it."""

from __future__ import annotations

from typing import Any

import pytest

from hub.core.errors import Rejected
from hub.core.labels import NO_LABELS, Labels, encode_labels, labels_of, read_labels


def test_labels_come_back_as_they_were_kept() -> None:
    labels = read_labels(["urgent", "Zürich 5"], {"customer": "4711", "total": 12.5, "items": 3, "paid": True})

    assert labels_of(encode_labels(labels)) == labels
    assert labels == Labels(tags=("urgent", "Zürich 5"), metadata={"customer": "4711", "total": 12.5, "items": 3, "paid": True})


@pytest.mark.parametrize(("tags", "metadata"), [(None, None), ([], {}), ((), None)])
def test_no_labels_are_kept_as_nothing(tags: Any, metadata: Any) -> None:
    assert read_labels(tags, metadata) is NO_LABELS
    assert encode_labels(NO_LABELS) is None
    assert labels_of(None) is NO_LABELS


def test_a_repeated_tag_is_one() -> None:
    assert read_labels(["a", "b", "a"], None).tags == ("a", "b")


def test_a_number_is_filed_like_the_text_that_says_the_same() -> None:
    labels = read_labels(["t"], {"a": 1, "b": 1.0, "c": "1", "d": True, "e": 0.5, "f": -3})

    assert list(labels.filed()) == [("", "t"), ("a", "1"), ("b", "1"), ("c", "1"), ("d", "true"), ("e", "0.5"), ("f", "-3")]


def test_the_largest_labels_are_accepted() -> None:
    tags = [f"{number:064}" for number in range(16)]
    metadata = {f"{number:064}": "ü" * 256 for number in range(16)}

    assert read_labels(tags, metadata) == Labels(tags=tuple(tags), metadata=metadata)


@pytest.mark.parametrize(
    ("tags", "metadata", "told"),
    [
        ("urgent", None, "tags: expected a list of texts, got str"),
        ({"a": 1}, None, "tags: expected a list of texts, got dict"),
        ([str(n) for n in range(17)], None, "tags: at most 16 are kept, these are 17"),
        (["ok", 7], None, r"tags\[1\]: expected a text, got int"),
        ([""], None, r"tags\[0\]: '' must have 1 to 64"),
        (["x" * 65], None, r"tags\[0\]: 'x+' must have 1 to 64"),
        (["a,b"], None, "no comma"),
        (["a=b"], None, "no ="),
        ([" a"], None, "no space at its ends"),
        (["a\nb"], None, "printable"),
        (["\ud800"], None, "printable"),
        (None, ["a"], "metadata: expected an object, got list"),
        (None, {str(n): n for n in range(17)}, "metadata: at most 16 keys are kept, these are 17"),
        (None, {"": 1}, "metadata: '' must have"),
        (None, {"a": None}, "metadata.a: expected a text, a number or true or false, got NoneType"),
        (None, {"a": [1]}, "metadata.a: expected a text, .* got list"),
        (None, {"a": "x" * 257}, "metadata.a: at most 256 characters are kept, this has 257; what is longer belongs into params"),
        (None, {"a": 10**300}, "metadata.a: .* 256"),
        (None, {"a": 10**100_000}, "metadata.a: .* 256"),
        (None, {"a": float("nan")}, "metadata.a: nan is no number"),
        (None, {"a": "x\x00"}, "metadata.a: .* cannot be printed"),
    ],
)
def test_what_cannot_be_a_label_is_refused_with_its_place(tags: Any, metadata: Any, told: str) -> None:
    with pytest.raises(Rejected, match=told) as refused:
        read_labels(tags, metadata)

    assert refused.value.code == "instance.invalid_labels"
