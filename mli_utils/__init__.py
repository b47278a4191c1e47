"""Training and interpolation behind the executable paper; the book shows what each name is for.

Names are imported when first used, so the command line need not load torch to say that nothing has changed.
"""

import importlib

__version__ = "0.1.0"

HOMES = {
    "beyond_plots": ["dose_figure", "forest_figure", "layer_figure", "scatter_figure"],
    "claims": ["score", "span"],
    "config": ["InputError", "MLIError", "RunConfig", "grid"],
    "estimates": [
        "bootstrap",
        "determination_by_seed",
        "intervals",
        "mean_and_interval",
        "paired_differences",
        "rank_correlation",
        "rank_correlations",
        "shares",
    ],
    "figures": ["glue", "show"],
    "interactive": ["show_interactive"],
    "interventions": [
        "Bias",
        "biased_curves",
        "changed_biases",
        "dose_curves",
        "dose_responses",
        "trained_bias",
    ],
    "landscape": ["predict", "square"],
    "ledger_plots": ["ledger_figure", "show_ledger"],
    "measurements": ["interpolate"],
    "metrics": [
        "at_most",
        "learned_at",
        "monotonicity_gap",
        "only_fitted",
        "plateau",
    ],
    "moving": ["picture_traces", "square_traces"],
    "neighbours": [
        "layer_curves",
        "line_totals",
        "neighbours_table",
        "show_columns",
    ],
    "order": ["class_order", "explained", "order_correlations", "plateau_predictions", "predicted_as"],
    "pictures": ["picture_figure", "predict_images"],
    "plots": ["curve_figure", "dot_figure", "xy_figure"],
    "section_plots": [
        "flow_figure",
        "flow_traces",
        "hardness_figure",
        "order_figure",
        "share_figure",
        "square_figure",
    ],
    "speed": ["benchmarks", "exponents", "growth_figure", "many_runs", "ratio_figure"],
    "sweep": ["Run", "table", "train"],
    "tables": ["show_intervals", "show_table"],
    "verdicts": ["compare", "judge", "ledger"],
}
__all__ = sorted(name for names in HOMES.values() for name in names)  # noqa: PLE0605


def __getattr__(name: str):
    for module, names in HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"mli_utils.{module}"), name)
    raise AttributeError(f"mli_utils has no {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
