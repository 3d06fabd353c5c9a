"""What lesson 07 draws and says, as formulas over its arrays."""

from __future__ import annotations

from typing import Any

from diffteach.explore.scene import Layer, Readout, layer

NAMES = {"srpo": "SRPO", "dtql": "DTQL", "hold": "DTQL, D frozen"}
AT, NEAR = "0.36*half/longest*lam", "lam/longest"
COLORS = {"srpo": "vermilion", "dtql": "blue", "hold": "muted", "own": "purple"}


def formulas(trained: bool, own: bool) -> dict[str, str]:
    """The named formulas of the scene, over its arrays and the controls."""
    true, full = ("true", "slope") if trained else ("mean", "mean")
    let = {
        "g_omega": "where(units, gain_omega, 1)",
        "g_match": "where(units, gain_match, 1)",
        "g_hold": "where(units, gain_hold, 1)",
        "r_srpo": "(1 - morph)*g_omega*rows_omega + morph*g_match*rows_match",
        "r_hold": "g_hold*rows_hold",
        "r_dtql": "g_match*rows_full",
        "to_q": "2*(target - probe)",
    }
    sources = {"srpo": "mean", "dtql": full, "hold": "mean"}
    exact = {"srpo": "r_srpo", "dtql": "g_match*rows_match", "hold": "r_hold"}
    if own:
        let["r_own"] = "g_match*rows_own"
        sources["own"] = "own"
    for name, source in sources.items():
        let |= {
            f"w_{name}": f"r_{name}*scale_{source}",
            f"field_of_{name}": f"blended(w_{name}, field_{source})",
            f"pull_{name}": f"-vectorsAt(field_of_{name}, probe, box)",
            f"bars_{name}": f"-bars(w_{name}, field_{source}, probe, box)",
            f"along_{name}": _along(f"bars_{name}", f"pull_{name}"),
            f"path_{name}": f"slide(probe, target, field_of_{name}, lam, box)",
            f"end_{name}": f"row(path_{name}, 100)",
        }
    for name, rows in exact.items():
        let |= {
            f"exact_w_{name}": f"({rows})*scale_{true}",
            f"exact_{name}": f"-vectorsAt(blended(exact_w_{name}, field_{true}), probe, box)",
        }
    let["kl_bars"] = f"-bars(exact_w_dtql, field_{true}, probe, box)"
    let["kl_along"] = _along("kl_bars", "exact_dtql")
    # Before the guess even the scale of the other arrows must not give SRPO's away.
    seen = {"srpo": "revealed*"}
    longest = ", ".join(f"{seen.get(name, '')}lam*norm(pull_{name})" for name in sources)
    return let | {
        "longest": f"max(norm(to_q), {longest}, 1e-9)",
        "turned": "turn(pull_srpo, pull_dtql)",
        "ratio": "norm(pull_srpo)/norm(pull_dtql)",
        "held_turned": "turn(pull_hold, pull_dtql)",
        "held_ratio": "norm(pull_hold)/norm(pull_dtql)",
        "off": "norm(pull_srpo - pull_dtql)/norm(pull_dtql)",
        "off_exact": "norm(pull_dtql - exact_dtql)/norm(exact_dtql)",
        "far_srpo": "row(nearest(end_srpo, centres), 0)",
        "far_dtql": "row(nearest(end_dtql, centres), 0)",
    }


def _along(bars: str, pull: str) -> str:
    return f"(x({bars})*x({pull}) + y({bars})*y({pull}))/norm({pull})"


def _method(name: str) -> tuple[Layer, ...]:
    color, seen = COLORS[name], "revealed" if name == "srpo" else "1"
    shown, label = f"release*{seen}", NAMES.get(name, "yours")
    shape = {"srpo": "star", "dtql": "cross"}.get(name, "ring")
    # SRPO is the widest and drawn under DTQL, so that both are seen where they coincide.
    wide = {"srpo": 4.0, "dtql": 2.2}.get(name, 1.6)
    arrow: dict[str, Any] = {"color": color, "when": seen, "legend": label}
    return (
        layer("path", xy=f"path_{name}", color=color, width=1.6, when=shown),
        layer("arrows", xy="listed(probe)", uv=f"listed({AT}*pull_{name})", width=wide, **arrow),
        layer("marker", xy=f"end_{name}", color=color, shape=shape, when=shown),
        layer("arrows", 1, xy="middle", uv=f"listed({NEAR}*pull_{name})", width=wide, **arrow),
        layer("line", 2, x="edges", y=f"stairs(along_{name})", width=wide, **arrow),
    )


def layers(own: bool) -> tuple[Layer, ...]:
    """What is drawn: the plane, the enlarged arrows, and the bars over the noise."""
    methods = ("hold", "srpo", "dtql", *(("own",) if own else ()))
    slope: dict[str, Any] = {"color": "green", "legend": "∇Q"}
    dashed: dict[str, Any] = {"color": "ink", "width": 1.1, "dash": True}
    return (
        layer(
            "heat",
            field="max(logp, highest(logp) - 14)",
            colors="pale",
            label="log μ",
        ),
        layer("points", xy="data", color="muted", size=2),
        layer("arrows", xy="listed(probe)", uv="listed(0.36*half/longest*to_q)", width=2, **slope),
        layer("arrows", 1, xy="middle", uv="listed(to_q/longest)", width=2, **slope),
        *(entry for name in methods for entry in _method(name)),
        *(
            layer(
                "path",
                1,
                xy=f"segment(origin, {NEAR}*exact_{name})",
                when="exact*revealed" if name == "srpo" else "exact",
                legend="∇ of its exact KL",
                **dashed,
            )
            for name in NAMES
        ),
        layer(
            "points",
            1,
            xy=f"listed({NEAR}*pull_srpo)",
            color="ink",
            size=10,
            shape="ring",
            when="revealed",
            legend="VSD of a Dirac: SRPO's",
        ),
        layer(
            "line",
            2,
            x="edges",
            y="stairs(kl_along)",
            when="exact",
            legend="∇ of DTQL's exact KL",
            **dashed,
        ),
        layer("rule", 2, y="0", color="muted"),
    )


WORDS = (
    "SRPO (ω = {omega}, moved {100*morph:.0f} % towards 2/(dσ)) pulls {ratio:.2f} times as hard as "
    "DTQL and {turned:.1f}° away from it{off < 0.01 ?: they coincide|}. Freezing D turns DTQL by "
    "{held_turned:.1f}° and pulls {held_ratio:.2f} times as hard. Let go, the action rests "
    "{far_srpo:.2f} from the nearest {few ?mode|data point} under SRPO"
    "{far_srpo > far ?, where there is no data,|} and {far_dtql:.2f} under DTQL."
)

READOUTS = (
    Readout("pull of DTQL", "norm(pull_dtql)", ".3f"),
    Readout("pull of DTQL, D frozen", "norm(pull_hold)", ".3f"),
    Readout("pull of SRPO", "norm(pull_srpo)", ".3f", "revealed"),
    Readout("SRPO − DTQL, relative", "off", ".3f", "revealed"),
    Readout("DTQL − ∇ of its exact KL, relative", "off_exact", ".3f"),
    Readout("slope of Q", "norm(to_q)", ".3f"),
)
