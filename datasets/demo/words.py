"""Vocabulary of the `demo` data set: categories, attribute ranges, values, phrases and ambiguous words.

Everything is made up; only the shape (7 categories, 26 attributes, how many each category has) follows journal Table 1.
"""

from __future__ import annotations

from dataclasses import dataclass

CATEGORIES = {"Clothes": 37, "Shoes": 22, "Bags": 10, "Luggage": 4, "Dresses": 14, "Boots": 4, "Pants": 9}
"""Category -> per cent of the products; Table 1's order and, roughly, its proportions."""

ATTRIBUTES = (
    "pattern", "material", "style", "colour", "collar", "fit", "closure", "craft", "sleeve length", "season",
    "upper height", "trouser type", "waist", "sleeve type", "toe style", "trouser length", "heel height", "thickness",
    "shaft height", "pocket type", "opening depth", "skirt length", "elasticity", "shape", "hem type", "slit type",
)  # fmt: skip

_SHARED = ("pattern", "material", "style", "colour", "closure", "craft")
RANGES = {
    "Clothes": (*_SHARED, "collar", "fit", "sleeve length", "season", "sleeve type", "thickness", "pocket type",
                "hem type"),
    "Shoes": (*_SHARED, "upper height", "toe style", "heel height", "opening depth"),
    "Bags": (*_SHARED, "shape", "pocket type"),
    "Luggage": (*_SHARED, "shape"),
    "Dresses": (*_SHARED, "collar", "fit", "sleeve length", "sleeve type", "skirt length", "waist", "slit type"),
    "Boots": (*_SHARED, "season", "toe style", "heel height", "shaft height", "thickness"),
    "Pants": (*_SHARED, "fit", "season", "trouser type", "waist", "trouser length", "elasticity", "pocket type"),
}  # fmt: skip
"""Category -> its attributes: 14, 10, 8, 7, 13, 11 and 13, as in Table 1."""

WEIGHTS = {"pattern": 6, "material": 6, "style": 5, "colour": 6}
"""How often an attribute is mentioned for certain, relative to 3 for the others."""
OTHER_WEIGHT = 3

NOUNS = {
    "Clothes": ("shirt", "hoodie", "jacket", "sweater", "tee", "cardigan", "blouse", "coat", "pullover", "top"),
    "Shoes": ("sneakers", "loafers", "sandals", "trainers", "moccasins", "slip-ons", "shoes", "oxfords"),
    "Bags": ("handbag", "tote", "backpack", "clutch", "satchel", "shoulder bag", "purse"),
    "Luggage": ("suitcase", "trolley case", "cabin case", "travel trunk", "carry-on"),
    "Dresses": ("dress", "gown", "sundress", "tunic dress", "evening dress", "frock"),
    "Boots": ("boots", "booties", "chelsea boots", "riding boots", "hiking boots"),
    "Pants": ("trousers", "jeans", "leggings", "joggers", "slacks", "pants"),
}

COLOURS = ("black", "white", "navy", "grey", "brown", "beige", "red", "green", "blue", "yellow", "pink", "purple")
VALUES = {
    "pattern": ("floral", "striped", "checked", "polka dot", "paisley", "camouflage", "geometric", "tartan", "solid"),
    "material": ("cotton", "polyester", "silk", "nylon", "canvas", "faux leather", "viscose", "suede", "corduroy"),
    "style": ("casual", "business", "bohemian", "street", "preppy", "minimalist", "vintage", "punk", "romantic"),
    "colour": COLOURS,
    "collar": ("crew neck", "polo collar", "turtleneck", "v neck", "hooded", "lapel collar", "square neck"),
    "fit": ("slim fit", "oversized", "regular fit", "relaxed fit", "straight cut"),
    "closure": ("zipper", "buttons", "drawstring", "buckle", "velcro", "snap fastener"),
    "craft": ("embroidery", "sequins", "quilting", "beading", "patchwork", "hot stamping", "fringes", "pleats"),
    "sleeve length": ("short sleeves", "long sleeves", "three-quarter sleeves", "sleeveless", "cap sleeves"),
    "season": ("spring", "summer", "autumn", "winter"),
    "upper height": ("high top", "low top", "mid top"),
    "trouser type": ("cargo pants", "bell bottoms", "straight leg", "harem pants", "pencil pants", "bootcut"),
    "waist": ("high waist", "low waist", "mid rise", "natural waist", "empire waist"),
    "sleeve type": ("puff sleeves", "bat sleeves", "raglan sleeves", "bell sleeves", "lantern sleeves"),
    "toe style": ("pointed toe", "round toe", "square toe", "open toe"),
    "trouser length": ("full length", "cropped length", "ankle length", "knee length"),
    "heel height": ("flat heel", "high heel", "low heel", "mid heel"),
    "thickness": ("thick", "thin", "padded", "lightweight", "velvet lined"),
    "shaft height": ("ankle high", "knee high", "mid calf", "over the knee"),
    "pocket type": ("patch pockets", "flap pocket", "slant pockets", "kangaroo pocket", "inner pocket"),
    "opening depth": ("low cut", "deep mouth", "shallow mouth"),
    "skirt length": ("mini length", "midi length", "maxi length", "knee length"),
    "elasticity": ("stretchy", "non-stretch", "slightly elastic", "super stretch"),
    "shape": ("oval", "half moon", "bucket shape", "boxy", "cylinder", "trapeze"),
    "hem type": ("ruffled hem", "asymmetric hem", "straight hem", "curved hem"),
    "slit type": ("side slit", "front slit", "thigh slit", "back slit"),
}
"""Attribute -> values that are certain in the text wherever the category has the attribute."""

DOUBLES = ("colour", "material", "season", "craft")
"""Attributes that a product may have two values of."""

BEFORE = {
    "pattern": "{v}", "material": "{v}", "style": "{v}", "colour": "{v}", "fit": "{v}", "thickness": "{v}",
    "elasticity": "{v}", "collar": "{v}", "upper height": "{v}", "toe style": "{v}", "heel height": "{v}",
    "waist": "{v}", "shaft height": "{v}", "shape": "{v}",
}  # fmt: skip
"""Phrases before the noun."""
AFTER = {
    "pattern": ("in {v} design", "covered in {v} print"),
    "material": ("made of {v}", "cut from {v}", "crafted in pure {v}"),
    "style": ("for {v} looks", "with {v} attitude"),
    "colour": ("in {v}", "dyed {v}", "available in {v}"),
    "collar": ("featuring {v}", "finished as {v}"),
    "fit": ("tailored as {v}", "with {v} shape"),
    "closure": ("closed by {v}", "fastens by {v}", "secured by {v}"),
    "craft": ("decorated by {v}", "adorned by {v}"),
    "sleeve length": ("having {v}", "featuring {v}"),
    "season": ("for {v}", "suited to {v} days"),
    "upper height": ("built as {v}",),
    "trouser type": ("worn like {v}", "shaped as {v}"),
    "waist": ("having {v}", "featuring {v}"),
    "sleeve type": ("having {v}", "showing {v}"),
    "toe style": ("having {v}", "featuring {v}"),
    "trouser length": ("sewn to {v}", "in {v}"),
    "heel height": ("standing on {v}", "featuring {v}"),
    "thickness": ("feels {v}",),
    "shaft height": ("rising {v}", "reaching {v}"),
    "pocket type": ("including {v}", "adding {v}"),
    "opening depth": ("worn {v}", "designed {v}"),
    "skirt length": ("sewn to {v}", "in {v}"),
    "elasticity": ("feels {v}", "knitted {v}"),
    "shape": ("formed as {v}",),
    "hem type": ("ending in {v}", "showing {v}"),
    "slit type": ("opened by {v}", "showing {v}"),
}
"""Phrases after the noun."""

OUT_OF_RANGE = {
    "Clothes": ("elasticity",),
    "Shoes": ("season", "thickness", "elasticity"),
    "Bags": ("season", "thickness"),
    "Luggage": ("season", "thickness"),
    "Dresses": ("season", "thickness", "pocket type", "elasticity"),
    "Boots": ("elasticity",),
    "Pants": ("thickness",),
}
"""Attributes a sentence may mention although the category does not have them; such a mention is never annotated."""


@dataclass(frozen=True, slots=True)
class Family:
    """Words of one kind that the text leaves open and the picture settles.

    `worlds` are the attributes that the word may be a value of; None means that it is no value (a series, a motto, the
    thing it matches). Each form is a phrase with `{w}`, its place (True: before the noun) and the per cent per world.
    """

    name: str
    categories: tuple[str, ...]
    words: tuple[str, ...]
    worlds: tuple[str | None, ...]
    forms: tuple[tuple[str, bool, tuple[int, ...]], ...]


FRUIT = ("orange", "rose", "peach", "cherry", "olive", "plum")
ANIMALS = ("leopard", "zebra", "snake", "tiger")
FAMILIES = (
    Family("fruit", tuple(CATEGORIES), FRUIT, ("colour", "pattern", None),
           (("{w}", True, (55, 30, 15)), ("the {w} edition", False, (28, 52, 20)))),
    Family("animal", ("Clothes", "Dresses", "Pants"), ANIMALS, ("pattern", None),
           (("{w}", True, (72, 28)), ("with {w} spirit", False, (38, 62)))),
    Family("hide", ("Shoes", "Bags", "Boots", "Luggage"), ("snake", "crocodile", "pony", "zebra"),
           ("pattern", "material", None), (("{w}", True, (34, 54, 12)), ("with {w} charm", False, (50, 20, 30)))),
    Family("cloth", ("Clothes", "Bags", "Dresses", "Luggage"), ("camel", "denim", "pearl", "copper"),
           ("colour", "material", None), (("{w}", True, (56, 32, 12)), ("in {w} mood", False, (30, 50, 20)))),
    Family("khaki", ("Pants",), ("khaki", "army", "ranger"), ("colour", "trouser type", None),
           (("{w}", True, (58, 30, 12)), ("in {w} mood", False, (30, 48, 22)))),
    Family("golden", ("Clothes", "Shoes", "Dresses"), ("golden", "crimson", "ivory"), ("colour", "craft", None),
           (("with {w} touch", False, (32, 53, 15)), ("{w}", True, (62, 28, 10)))),
    Family("letter", ("Clothes", "Shoes", "Bags", "Dresses", "Pants"), ("college", "rock", "military", "retro"),
           ("style", "pattern", None), (("{w}", True, (60, 25, 15)), ("with {w} flair", False, (34, 50, 16)))),
    Family("neck", ("Clothes",), ("round", "square", "v"), ("collar", "hem type", None),
           (("with {w} cut", False, (58, 30, 12)), ("in {w} line", False, (33, 47, 20)))),
    Family("neckline", ("Dresses",), ("round", "square", "v"), ("collar", None),
           (("with {w} cut", False, (70, 30)), ("in {w} line", False, (40, 60)))),
    Family("toe", ("Shoes", "Boots"), ("round", "square", "pointed"), ("toe style", None),
           (("with {w} cut", False, (68, 32)), ("in {w} line", False, (42, 58)))),
    Family("outline", ("Bags",), ("round", "square"), ("shape", "pocket type", None),
           (("with {w} cut", False, (57, 31, 12)), ("in {w} line", False, (34, 48, 18)))),
    Family("trunk", ("Luggage",), ("round", "square"), ("shape", None),
           (("with {w} cut", False, (70, 30)), ("in {w} line", False, (40, 60)))),
    Family("high", ("Shoes",), ("high", "tall", "raised"), ("upper height", "heel height", None),
           (("{w}", True, (52, 33, 15)), ("with {w} profile", False, (30, 52, 18)))),
    Family("tall", ("Boots",), ("high", "tall", "raised"), ("shaft height", "heel height", None),
           (("{w}", True, (55, 30, 15)), ("with {w} profile", False, (32, 52, 16)))),
    Family("rise", ("Pants",), ("high", "raised"), ("waist", None),
           (("{w}", True, (70, 30)), ("with {w} profile", False, (44, 56)))),
    Family("slit", ("Dresses",), ("high", "raised"), ("waist", "slit type", None),
           (("{w}", True, (54, 32, 14)), ("with {w} profile", False, (28, 54, 18)))),
    Family("zip", ("Clothes", "Bags", "Pants"), ("zip", "button", "buckle"), ("closure", "pocket type", None),
           (("with {w} detail", False, (54, 34, 12)), ("{w}", True, (62, 20, 18)),
            ("plus {w} extra", False, (26, 52, 22)))),
    Family("strap", ("Shoes", "Boots"), ("zip", "strap", "buckle"), ("closure", "craft", None),
           (("with {w} detail", False, (55, 33, 12)), ("plus {w} extra", False, (30, 52, 18)))),
    Family("lock", ("Luggage",), ("zip", "lock", "buckle"), ("closure", None),
           (("with {w} detail", False, (70, 30)), ("plus {w} extra", False, (40, 60)))),
    Family("sleeve", ("Clothes",), ("short", "long"), ("sleeve length", None),
           (("{w}", True, (70, 30)), ("with {w} lines", False, (42, 58)))),
    Family("skirt", ("Dresses",), ("short", "long"), ("skirt length", "sleeve length", None),
           (("{w}", True, (56, 32, 12)), ("with {w} lines", False, (30, 54, 16)))),
    Family("leg", ("Pants",), ("short", "cropped"), ("trouser length", None),
           (("{w}", True, (72, 28)), ("with {w} lines", False, (40, 60)))),
    Family("volume", ("Clothes", "Dresses"), ("loose", "wide", "flared"), ("fit", "sleeve type", None),
           (("{w}", True, (56, 32, 12)), ("with {w} volume", False, (30, 52, 18)))),
    Family("leg volume", ("Pants",), ("loose", "wide", "flared"), ("fit", "trouser type", None),
           (("{w}", True, (54, 34, 12)), ("with {w} volume", False, (32, 50, 18)))),
    Family("warm", ("Clothes", "Boots"), ("fleece", "wool", "down"), ("material", "thickness", None),
           (("{w}", True, (56, 32, 12)), ("with {w} comfort", False, (28, 54, 18)))),
    Family("lace", ("Shoes",), ("lace", "cord", "ribbon"), ("closure", "material", None),
           (("with {w} finish", False, (54, 30, 16)), ("{w}", True, (32, 56, 12)))),
    Family("trim", ("Dresses",), ("lace", "mesh", "ribbon"), ("material", "craft", None),
           (("with {w} finish", False, (32, 54, 14)), ("{w}", True, (58, 28, 14)))),
    Family("elastic", ("Pants",), ("elastic", "stretch"), ("elasticity", "waist", None),
           (("{w}", True, (56, 30, 14)), ("with {w} comfort", False, (30, 52, 18)))),
    Family("mouth", ("Shoes",), ("shallow", "deep"), ("opening depth", None),
           (("{w}", True, (70, 30)), ("with {w} lines", False, (42, 58)))),
)  # fmt: skip

BRANDS = (
    "Orange Lane", "Rose Hill", "Olive Street", "Nordvik", "Calder & Finch", "Silverbrook", "High Harbour", "Maren",
    "Tallowood", "Peach State", "Kestrel", "Lund", "Bramble", "Ostrava", "Pearl River", "Vela", "Denim Republic",
    "Ironwood", "Sable", "Long Island Made", "Fenwick", "Copper Canyon", "Aster", "Quill", "Marlowe", "Tiger Bay",
)  # fmt: skip
"""Made-up makers; many hold a word that is a value elsewhere, none of which is ever annotated."""

OPENERS = (
    "New arrival", "Limited drop", "Bestseller", "Back in stock", "Weekend deal", "Our favourite", "Just landed",
    "Now on sale", "Online only", "Last chance", "Members first", "Top rated", "Gift idea", "Fresh this week",
)  # fmt: skip
CLOSERS = (
    "free shipping", "easy to care for", "made to last", "a gift to remember", "order one size up", "ships in two days",
    "loved by thousands", "machine washable", "comfort all day long", "best price this year",
    "no returns on sale items",
    "a true wardrobe hero", "designed in our own studio", "selling fast", "two year guarantee", "sizes 34 to 46",
)  # fmt: skip
MATCHES = ("goes with", "pairs with", "wear it with", "matches", "looks great with", "style it with", "made to meet")
MATCH_WORDS = (
    "skinny", "orange", "high", "short", "denim", "wide", "black", "leather", "striped", "long", "loose", "golden",
    "leopard", "cropped", "wool", "white", "floral", "rose", "pointed", "vintage",
)  # fmt: skip
MATCH_NOUNS = {
    "Clothes": ("jeans", "skirt", "heels", "shorts", "boots"),
    "Shoes": ("jeans", "socks", "chinos", "skirt", "coat"),
    "Bags": ("coat", "dress", "heels", "scarf", "jeans"),
    "Luggage": ("coat", "backpack", "wash bag", "scarf"),
    "Dresses": ("jacket", "heels", "cardigan", "belt", "boots"),
    "Boots": ("jeans", "coat", "skirt", "socks", "dress"),
    "Pants": ("shirt", "jacket", "tee", "belt", "sweater"),
}
"""What the product of a category is shown with; the word before it is never annotated."""

FRAMES = (
    "{brand} {before} {noun} {after} {match} {closer}",
    "{opener} : {before} {noun} {after} by {brand} {match}",
    "{before} {noun} {model} {after} {closer}",
    "New {before} {noun} from {brand} {after} {match}",
    "This {before} {noun} is here {after} {closer} {match}",
    "{brand} {model} {before} {noun} {after} {closer}",
    "Discover {before} {noun} by {brand} {after} {match}",
    "{opener} ! {brand} {before} {noun} {after} {match}",
    "{before} {noun} by {brand} {after} {closer}",
    "Meet our {before} {noun} {model} {after} {match}",
    "Say hello to {before} {noun} {after} {closer}",
    "{closer} - {brand} {before} {noun} {after} {match}",
    "{brand} presents {before} {noun} {model} {after}",
    "You will love our {before} {noun} {after} {match}",
    "{model} {before} {noun} {after} by {brand} {closer}",
    "{opener} for her : {before} {noun} {after} {match} {closer}",
)
