"""A configuration that speaks of more than its weights hold is refused before anything is made of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlxbuild.registry.core.digest import Digest
from mlxbuild.runtime.model.layout import require_usable
from mlxbuild.runtime.model.load import load_weights
from mlxbuild.runtime.model.plausibility import ImplausibleConfiguration, require_plausible
from mlxbuild.toolchain.weights.structure import structure_of
from tests.runtime.tiny_folders import write_model

SHAPES = [(300, 64), (64, 64), *[(64, 128)] * 30]
BLOWN_UP = """
import json, random, resource, sys
from pathlib import Path

from mlxbuild.registry.core.errors import MlxbuildError
from mlxbuild.runtime.model.load import load_weights
from tests.sweep.architectures import tiny_config, write_weights

def paths(value, path=()):
    for name, item in value.items() if isinstance(value, dict) else ():
        yield from paths(item, (*path, name))
    if isinstance(value, int) and not isinstance(value, bool):
        yield path

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 2**20

folder, chance, refused = Path(sys.argv[1]), random.Random(7), 0
for architecture in ("qwen3", "gemma3", "mamba2", "deepseek_v3", "lfm2", "gpt2"):
    config = tiny_config(architecture)
    write_weights(folder, config)
    load_weights(folder)
    resource.setrlimit(resource.RLIMIT_AS, (8 * 2**30, resource.RLIM_INFINITY))
    before = resident_mib()
    for path in chance.choices([*paths(config)], k=40):
        changed = json.loads(json.dumps(config))
        place = changed
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = chance.choice((-1, 1, 1, 1)) * 10 ** chance.randint(6, 40)
        (folder / "config.json").write_text(json.dumps(changed))
        try:
            load_weights(folder)
        except MlxbuildError:
            refused += 1
        grown = resident_mib() - before
        assert grown < 300, (architecture, path, grown)
    (folder / "config.json").write_text(json.dumps(config))
print(refused)
"""


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"num_hidden_layers": 10**9}, "`num_hidden_layers` is 1,000,000,000 in config.json, and there are 32 tensors"),
        ({"text_config": {"num_hidden_layers": 10**6}}, "`text_config.num_hidden_layers` is 1,000,000"),
        ({"num_hidden_layers": -(10**9)}, "is -1,000,000,000"),
        ({"n_layer": 301}, "`n_layer` is 301"),
        ({"num_local_experts": 301}, "`num_local_experts` is 301"),
        ({"num_hidden_layers": 10**4000}, r"is about 2\^13288"),
        ({"hidden_size": 10**8}, "the largest dimension of its tensors is 300"),
        ({"layers": [{"head_dim": 10**8}]}, "`layers.head_dim`"),
        ({"vocab_size": 10**8}, "vocab_size"),
        ({"num_attention_heads": [4, 10**8]}, "num_attention_heads"),
    ],
)
def test_numbers_without_tensors_are_refused(config: dict[str, Any], told: str) -> None:
    with pytest.raises(ImplausibleConfiguration, match=told):
        require_plausible(config, SHAPES)


def test_what_is_no_dimension_may_be_large() -> None:
    config = {
        **{"max_position_embeddings": 10_485_760, "rope_theta": 500_000_000, "sliding_window": 2**40},
        **{"model_max_length": 10**30, "eos_token_id": 300, "num_experts": 300, "num_hidden_layers": 32},
        **{"tie_word_embeddings": True, "num_experts_per_tok": 8, "vocab_size": 300, "layer_norm_eps": 1e-5},
    }
    require_plausible(config, SHAPES)


def test_every_way_to_a_model_asks(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["num_hidden_layers"] = 10**9
    (folder / "config.json").write_text(json.dumps(config))
    identity = (Digest.of_bytes(b"config"), Digest.of_bytes(b"table"))
    for way in (
        lambda: load_weights(folder),
        lambda: require_usable(folder),
        lambda: structure_of(config, [("model.norm.weight", "F32", (64,))], identity, whole=False),
    ):
        with pytest.raises(ImplausibleConfiguration):
            way()


@pytest.mark.skipif(sys.platform != "linux", reason="macOS keeps to no limit of address space")
def test_no_number_makes_memory_grow(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", BLOWN_UP, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=Path(__file__).parents[3],
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 100
