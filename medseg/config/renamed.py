"""Keys and values of recipes that have other names now; `load` refuses the old ones and says the new ones."""

from __future__ import annotations

KEYS: dict[str, str] = {
    "network.start_from": "network.init_from",
    "network.start_fresh": "network.reinit_layers",
    "predict.margin_map": "predict.confidence_map",
    "predict.members": "predict.ensemble",
    "sampling.class_share": "sampling.foreground_oversampling",
    "train.keep_best_by": "train.monitor",
}
"""Old key -> new key."""

VALUES: dict[str, dict[str, str]] = {"sampling.order": {"each_once": "shuffled"}}
"""Key -> old value -> new value."""

IN_SETTINGS: dict[str, str] = {"data.split": "data.splits"}
"""Key as `--set` may also name it -> key."""
