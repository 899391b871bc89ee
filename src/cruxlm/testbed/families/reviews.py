"""Reviews to classify: is the verdict positive or negative, and what is the review about?

A review has one, three or (topic) four sentences. Its verdict is that of most sentences,
"not" turning a word into its opposite; its topic is that of most sentences.
"""

from random import Random

from cruxlm.testbed.reading import one_of
from cruxlm.testbed.row import Draft, Family
from cruxlm.testbed.words import TONES, TOPICS

DEGREES = ("", "very ", "quite ", "so ")
THINGS = tuple(word for words in TOPICS.values() for word in words)


def remark(random: Random, thing: str, tone: str, *, negations: bool) -> str:
    """One sentence about a thing, in a tone."""
    word = random.choice(TONES[tone])
    if negations and random.random() < 0.4:
        word = f"not {random.choice(TONES[opposite(tone)])}"
        return f"The {thing} was {word}."
    return f"The {thing} was {random.choice(DEGREES)}{word}."


def opposite(tone: str) -> str:
    """The other tone."""
    return "negative" if tone == "positive" else "positive"


def remarks(random: Random, tones: list[str], *, negations: bool) -> str:
    """Sentences in these tones, in a random order, about different things."""
    things = random.sample(THINGS, len(tones))
    random.shuffle(tones)
    return " ".join(
        remark(random, thing, tone, negations=negations)
        for thing, tone in zip(things, tones, strict=True)
    )


def sentiment(random: Random, level: int) -> Draft:
    """Draw one remark, one that may be negated, or three of which two agree."""
    label = random.choice(tuple(TONES))
    tones = [label]
    if level == 3:
        tones += [label, random.choice(tuple(TONES))]
    prompt = f"Is this positive or negative? {remarks(random, tones, negations=level > 1)}"
    choices = tuple(f"{tone}." for tone in TONES)
    return Draft(prompt, f"{label}.", label, instance=prompt, choices=choices)


def topic(random: Random, level: int) -> Draft:
    """Draw remarks on one topic, with none, one or two on other topics."""
    label, *others = random.sample(tuple(TOPICS), level)
    about = [label] * min(2, level) + others
    random.shuffle(about)
    used: list[str] = []
    for name in about:
        used.append(random.choice([word for word in TOPICS[name] if word not in used]))
    text = " ".join(
        remark(random, thing, random.choice(tuple(TONES)), negations=True) for thing in used
    )
    prompt = f"What is this about? {text}"
    choices = tuple(f"It is about {name}." for name in TOPICS)
    return Draft(prompt, f"It is about {label}.", label, instance=prompt, choices=choices)


SENTIMENT = Family("sentiment", sentiment, read=one_of(TONES), levels=3)
TOPIC = Family("topic", topic, read=one_of(TOPICS), levels=3)
