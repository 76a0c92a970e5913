"""What a page says, as plain values: sections of parts. `page.html.j2` shows them; it knows no run and no task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from mmjax.tasks.parts import Plot, ValueTable


@dataclass(frozen=True)
class Note:
    """A paragraph."""

    kind: ClassVar[str] = "note"

    text: str


@dataclass(frozen=True)
class Facts:
    """Names and what they are."""

    kind: ClassVar[str] = "facts"

    pairs: Sequence[tuple[str, str]]
    title: str = ""


@dataclass(frozen=True)
class Numbers:
    """A few large numbers; each has a name, the number and a small line below."""

    kind: ClassVar[str] = "numbers"

    items: Sequence[tuple[str, str, str]]


@dataclass(frozen=True)
class Card:
    """A row of the table.

    Attributes:
      id: of the row.
      label, prediction: what it is, and what the model said.
      right: whether they are the same.
      shares: the most probable answers.
      photos: data: URIs of small pictures, by the modality's name.
      cells: short cells, by column.
      texts: long cells, by column.
      spoke: what each modality added to the probability of the class `spoke_for`; empty: not known.
      spoke_from: the probability without any of them.
      effects: what each cell added, by column.
      marked: texts in pieces, each with how strongly it spoke, from -1 to 1; by column.
      overlays: data: URIs of photos on which is marked what spoke, by the modality's name.
    """

    id: str
    label: str
    prediction: str
    right: bool
    shares: Sequence[tuple[str, float]]
    photos: Mapping[str, str] = field(default_factory=dict)
    cells: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    spoke: Mapping[str, float] = field(default_factory=dict)
    spoke_for: str = ""
    spoke_from: float = 0.0
    effects: Mapping[str, float] = field(default_factory=dict)
    marked: Mapping[str, Sequence[tuple[str, float]]] = field(default_factory=dict)
    overlays: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cards:
    """Rows that are looked at together."""

    kind: ClassVar[str] = "cards"

    title: str
    caption: str
    cards: Sequence[Card]


AnyPart = Note | Facts | Numbers | Cards | Plot | ValueTable


@dataclass(frozen=True)
class Section:
    """A heading, its anchor, and what stands below."""

    anchor: str
    title: str
    parts: Sequence[AnyPart]


@dataclass(frozen=True)
class Page:
    """The whole of it.

    Attributes:
      title: largest.
      subtitle: below it.
      sections: in order; those without a part are left out.
      footer: who made it.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]
    footer: str
