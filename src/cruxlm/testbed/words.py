"""The closed vocabulary: the common words and the invented names of the language.

Names are built from syllables, so that a small tokenizer spells each in two or three
tokens. No name begins with another one: a shared beginning would let a reader, or a
substring test, take one entity for another.
"""

from random import Random

ONSETS = ("b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "st")
VOWELS = ("a", "e", "i", "o", "u")
PERSON_ENDINGS = ("lan", "rik", "mo", "nes", "tha", "vin", "dor", "sa")
TOWN_ENDINGS = ("wick", "ford", "ham", "mere", "gate")
RIVER_ENDINGS = ("ola", "une")

ANIMALS = (
    "heron", "beaver", "badger", "falcon", "hound", "goat", "raven", "ferret",
    "pony", "toad", "swan", "lynx",
)  # fmt: skip
CRAFTS = (
    "baker", "weaver", "mason", "potter", "smith", "miller", "tailor", "sailor",
    "carver", "tanner", "hunter", "fisher",
)  # fmt: skip
DISHES = (
    "soup", "bread", "stew", "cheese", "pie", "rice", "beans", "plums",
    "honey", "eggs", "cake", "nuts",
)  # fmt: skip
GOODS = (
    "salt", "wool", "silk", "iron", "glass", "timber", "wine", "paper",
    "copper", "leather", "oil", "clay",
)  # fmt: skip
COLOURS = (
    "red", "blue", "green", "white", "black", "brown", "grey", "pink", "gold", "purple",
)  # fmt: skip
MOUNTAINS = ("Karst", "Ombre", "Tulle", "Vance", "Hark", "Dunmar", "Elstar", "Skell")
FISH = ("trout", "pike", "eel", "carp", "perch", "bream")
PLACES = (
    "forest", "harbour", "mill", "garden", "bridge", "tower", "barn", "hill",
    "market", "beach", "meadow", "cave",
)  # fmt: skip

ITEMS = (
    "apple", "bell", "cup", "drum", "egg", "fig", "glove", "hat", "ink", "jar", "kite",
    "lamp", "map", "nail", "oar", "pen", "quilt", "rope", "sock", "tent", "urn", "vase",
    "wheel", "yarn",
)  # fmt: skip
"""List items in alphabetical order, each with an initial of its own."""

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")

KINDS = (
    "mirn", "dask", "blon", "trel", "vosk", "quim", "plen", "gorp", "zust", "narl",
    "felk", "jund", "wost", "hib", "kern", "lomp", "sarn", "tib", "urk", "yelm",
    "brog", "crin", "dunt", "flim",
)  # fmt: skip
"""Invented kinds, used as adjectives so that singular and plural look the same."""

FRIENDS = ("Ana", "Bo", "Cal", "Dee", "Eli", "Flo", "Gus", "Ivy", "Jon", "Kim", "Lou", "May")
"""Everyday names for made-up situations; nothing about them holds from row to row."""

TONES = {
    "positive": ("lovely", "great", "bright", "kind", "warm", "fresh", "clever", "calm"),
    "negative": ("awful", "dull", "rude", "cold", "stale", "noisy", "sad", "dirty"),
}
"""Words of praise and of blame."""

TOPICS = {
    "food": ("meal", "cook", "sauce", "dinner", "spoon", "table"),
    "music": ("song", "choir", "flute", "dance", "singer", "tune"),
    "travel": ("trip", "road", "ship", "guide", "inn", "coach"),
    "weather": ("rain", "wind", "storm", "sun", "snow", "fog"),
    "school": ("lesson", "teacher", "book", "desk", "class", "exam"),
    "sport": ("game", "race", "team", "ball", "player", "goal"),
}
"""What a review can be about, and the words that tell."""


def invented(
    kind: str,
    count: int,
    syllables: int,
    endings: tuple[str, ...],
    taken: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """Invented names, always the same for the same arguments.

    Args:
        kind: What the names are for; it decides which are drawn.
        count: How many.
        syllables: Syllables before the ending.
        endings: The endings that mark the kind.
        taken: Names of other kinds, which no new name may begin with or be the beginning of.
    """
    random = Random(f"names of {kind}")
    names = list(taken)
    while len(names) < len(taken) + count:
        stem = "".join(random.choice(ONSETS) + random.choice(VOWELS) for _ in range(syllables))
        name = (stem + random.choice(endings)).capitalize()
        if not any(name.startswith(other) or other.startswith(name) for other in names):
            names.append(name)
    return tuple(names[len(taken) :])
