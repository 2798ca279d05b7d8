"""The DDA manifest compared with the reference implementation's bytes."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dda_core.model.manifest import TrainedModel, dda_manifest, manifest_bytes
from tests.fixtures.archives import GRAPH, dda_manifest_of, sha256


def model(graph: dict[str, Any], file: str = "mochi.pt", width: int = 576, height: int = 768) -> TrainedModel:
    return TrainedModel(
        uri="model.tar.gz",
        etag=None,
        model_file=file,
        model_file_size=1,
        model_file_sha256=sha256(b"x"),
        input_shape=(1, 3, height, width),
        image_width=width,
        image_height=height,
        model_graph=graph,
    )


def test_the_manifest_of_the_example_has_exactly_these_bytes():
    graph = json.dumps(GRAPH)
    assert manifest_bytes(dda_manifest(model(GRAPH))).decode() == (
        f'{{"model_graph": {graph}, '
        '"compilable_models": [{"filename": "mochi.pt", "data_input_config": {"input": [1, 3, 768, 576]}, '
        '"framework": "PYTORCH"}], '
        '"dataset": {"image_width": 576, "image_height": 768}}'
    )


def test_the_fixture_is_the_same_manifest():
    assert manifest_bytes(dda_manifest_of(GRAPH)) == manifest_bytes(dda_manifest(model(GRAPH)))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=150)
@given(st.dictionaries(st.text(), VALUES, max_size=6), st.integers(1, 9999), st.integers(1, 9999))
def test_manifest_generation_equivalence(graph: dict[str, Any], width: int, height: int):
    """Property 2, Manifest Generation Equivalence: the graph is verbatim, with its key order; the rest is exact."""
    made = manifest_bytes(dda_manifest(model(graph, "m.pt", width, height)))
    reference = {
        "model_graph": graph,
        "compilable_models": [
            {"filename": "m.pt", "data_input_config": {"input": [1, 3, height, width]}, "framework": "PYTORCH"}
        ],
        "dataset": {"image_width": width, "image_height": height},
    }
    assert made == json.dumps(reference).encode()
    assert json.dumps(json.loads(made)["model_graph"]) == json.dumps(graph)
