"""An explained row as HTML: no script, no network, readable on white and on black."""

from dataclasses import dataclass
from html import escape

from mmjax.explain.details import CellEffect, RowDetails
from mmjax.explain.pictures import Picture, data_uri, png

_STYLE = """
.mmjax-row { font: 14px/1.5 system-ui, sans-serif; max-width: 60rem; }
.mmjax-row table { border-collapse: collapse; margin: .6rem 0; text-align: left; }
.mmjax-row td, .mmjax-row th { padding: .15rem .8rem .15rem 0; vertical-align: top; text-align: left; overflow-wrap: anywhere; }
.mmjax-row .number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.mmjax-row .bar { display: inline-block; height: .7rem; border-radius: 2px; }
.mmjax-row .for { background: rgba(20, 160, 60, .75); } .mmjax-row .against { background: rgba(210, 40, 40, .75); }
.mmjax-row img { width: 160px; height: 160px; image-rendering: pixelated; margin-right: .5rem; }
.mmjax-row figure { display: inline-block; margin: .3rem .6rem .3rem 0; } .mmjax-row figcaption { font-size: 12px; }
"""
_WIDEST = 12
"""Width in rem of the longest bar."""


@dataclass(frozen=True)
class Html:
    """HTML that a notebook shows."""

    text: str

    def _repr_html_(self) -> str:
        return self.text

    def __str__(self) -> str:
        return self.text


def row(name: str, prediction: str, probability: float, base: float, shapley: dict[str, float], details: RowDetails) -> str:
    """A row: bars of its modalities, effects of its cells and words, overlays of its photos."""
    head = (
        f"<p>Row {escape(name)}: <b>{escape(prediction)}</b>, {100 * probability:.1f} %, of which {100 * base:.1f} % without "
        "looking at the row. Points are of this probability, in percent.</p>"
    )
    cells = "".join(_cell(cell) for cell in details.cells)
    pictures = "".join(_picture(picture) for picture in details.pictures)
    parts = [f"<style>{_STYLE}</style>", head, _bars(shapley)]
    if cells:
        parts.append(f"<table><tr><th>column</th><th class='number'>without it</th><th>cell</th></tr>{cells}</table>")
    return f"<div class='mmjax-row'>{''.join(parts)}{pictures}</div>"


def whole(title: str, rows: list[str]) -> str:
    """A page of rows."""
    body = "<hr>".join(rows)
    meta = "<meta charset='utf-8'><meta name='viewport' content='width=device-width, initial-scale=1'>"
    style = "<style>:root { color-scheme: light dark; } body { margin: 1.5rem; } img { max-width: 100%; }</style>"
    return (
        f"<!doctype html><html lang='en'><head>{meta}<title>{escape(title)}</title>{style}</head><body>{body}</body></html>\n"
    )


def _bars(shapley: dict[str, float]) -> str:
    widest = max([abs(v) for v in shapley.values()] + [1e-9])
    lines = "".join(
        f"<tr><td>{escape(name)}</td><td class='number'>{100 * value:+.1f}</td><td><span class='bar {_side(value)}' "
        f"style='width:{_WIDEST * abs(value) / widest:.2f}rem'></span></td></tr>"
        for name, value in sorted(shapley.items(), key=lambda item: -abs(item[1]))
    )
    return f"<table><tr><th>modality</th><th class='number'>adds</th><th></th></tr>{lines}</table>"


def _cell(cell: CellEffect) -> str:
    text = coloured(cell) if cell.words else escape(cell.text)
    return f"<tr><td>{escape(cell.column)}</td><td class='number'>{-100 * cell.effect:+.1f}</td><td>{text}</td></tr>"


def coloured(cell: CellEffect) -> str:
    """A cell's text whose words are green where they speak for the class, red where against it."""
    strongest, at, parts = max([abs(effect) for _, _, effect in cell.words] + [1e-9]), 0, []
    for start, end, effect in cell.words:
        alpha = 0.75 * abs(effect) / strongest
        colour = "20, 160, 60" if effect > 0 else "210, 40, 40"
        style = f" style='background: rgba({colour}, {alpha:.2f})'" if alpha >= 0.02 else ""
        parts += [escape(cell.text[at:start]), f"<span{style} title='{-100 * effect:+.1f} points without it'>"]
        parts += [escape(cell.text[start:end]), "</span>"]
        at = end
    return "".join(parts) + escape(cell.text[at:])


def _picture(picture: Picture) -> str:
    shown = (
        ("as the model reads it", png(picture.pixels)),
        ("integrated gradients", picture.overlay(picture.gradients)),
        ("covered by a grey square", picture.overlay(picture.occlusion)),
    )
    figures = "".join(
        f"<figure><img src='{data_uri(content)}' alt='{escape(picture.modality)}'><figcaption>{what}</figcaption></figure>"
        for what, content in shown
    )
    return f"<div>{figures}</div>"


def _side(value: float) -> str:
    return "for" if value > 0 else "against"
