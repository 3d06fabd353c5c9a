"""What the four panels of regularisers draw and say, as formulas over their arrays."""

from __future__ import annotations

from diffteach.explore.scene import Layer, Readout, layer

TITLES = {
    "bc": "BC: squared distance",
    "tr": "DTQL: trust region",
    "srpo": "SRPO: each action alone",
    "vsd": "VSD: with its own score",
    "own": "yours",
}
SHORT = {"bc": "BC", "tr": "DTQL", "srpo": "SRPO", "vsd": "VSD", "own": "yours"}
COLORS = {"bc": "yellow", "tr": "blue", "srpo": "vermilion", "vsd": "sky", "own": "purple"}
ARROWS = 15


def methods(own: bool) -> tuple[str, ...]:
    """The panels, left to right."""
    return tuple(TITLES)[: 4 + own]


def formulas(own: bool) -> dict[str, str]:
    """The named formulas of the scene, over its arrays and the controls."""
    let = {
        "begin": "joined(probe, where(first == 0, grid, probe + about))",
        "middle": "median(norm(nodes_tr))",
    }
    for name in methods(own):
        field = f"field_{name}"
        let |= {
            f"at_{name}": f"reached(path_{name}, time)",
            f"way_{name}": f"member(path_{name}, 0)",
            f"cover_{name}": f"mean(nearest(data, at_{name}) < near)",
            f"away_{name}": f"sqrt(mean(nearest(at_{name}, centres)**2))",
        }
        if name == "vsd":
            args = "target, reward, field_vsd, own_score"
            let |= {
                "path_vsd": f"distilled(begin, {args}, lam, box)",
                "trace_vsd": f"followed(begin, {args}, some, box)",
                "nodes_vsd": "crowd(nodes, at_vsd, own_score) - vectorsAt(field_vsd, nodes, box)",
            }
        else:
            let |= {
                f"path_{name}": f"pulled(begin, target, reward, {field}, lam, box)",
                f"ways_{name}": f"pulled(probe + still, target, reward, {field}, lams, box)",
                f"trace_{name}": f"row(ways_{name}, 40)",
                f"nodes_{name}": f"-vectorsAt({field}, nodes, box)",
            }
    return let


def _panel(name: str, k: int) -> tuple[Layer, ...]:
    seen = "revealed" if name == "bc" else "1"
    color = COLORS[name]
    return (
        layer(
            "heat",
            k,
            when="shade == 0",
            field="max(logp, highest(logp) - 14)",
            colors="pale",
            label="log μ",
        ),
        layer(
            "heat",
            k,
            when=f"(shade == 1)*{seen}",
            field=f"sizes(nodes_{name})",
            low="log(middle)/log(10) - 1.2",
            high="log(middle)/log(10) + 1.2",
            colors="sequential",
            label="log₁₀ |pull|",
        ),
        layer("points", k, xy="data", color="muted", size=2),
        layer(
            "arrows",
            k,
            when=seen,
            xy="nodes",
            uv=f"shortened(nodes_{name}, middle, 0.95*cell)",
            color="ink",
            width=1.0,
            legend="pull, long where strong",
        ),
        layer("path", k, when=f"traces*{seen}", xy=f"trace_{name}", color="ink", dash=True),
        layer("path", k, when=seen, xy=f"way_{name}", color="orange", width=1.4),
        layer("points", k, when=seen, xy=f"at_{name}", color=color, size=6, legend="fifty actions"),
        *(
            (
                layer("points", k, xy="listed(probe)", color="orange", size=11, shape="ring"),
                layer(
                    "points",
                    k,
                    when="reward == 0",
                    xy="listed(target)",
                    color="green",
                    size=11,
                    shape="ring",
                ),
            )
            if k
            else ()
        ),
        layer("marker", k, when=seen, xy=f"row(at_{name}, 0)", color=color, shape="star"),
    )


def layers(own: bool) -> tuple[Layer, ...]:
    """The same picture in every panel, under another regulariser."""
    return tuple(entry for k, name in enumerate(methods(own)) for entry in _panel(name, k))


WORDS = (
    "At one λ = {lam:.3g}, {100*time:.0f} % of the way: {100*cover_vsd:.0f} % of the data have an "
    "action of VSD's policy nearby, {100*cover_srpo:.0f} % one of SRPO's under the same ω = "
    "{omega}{(away_srpo > far)*(cover_srpo < 0.05) ?, which stand where there is no data|}; the "
    "trust region's have {100*cover_tr:.0f} %, BC's {100*cover_bc:.0f} %"
    "{(away_bc > far)*(cover_bc < 0.05) ?, where there is no data|}."
)


def readouts(own: bool) -> tuple[Readout, ...]:
    """Per method: the share of the data that it covers, and how far its actions are from a mode."""
    return tuple(
        Readout(f"{SHORT[name]}: {label}", formula.format(name), form, seen)
        for name in methods(own)
        for seen in ("revealed" if name == "bc" else "1",)
        for label, formula, form in (
            ("data near an action", "cover_{}", ".0%"),
            ("actions to the nearest mode, rms", "away_{}", ".2f"),
        )
    )
