"""Film reviews from a small probabilistic grammar whose true entropy is known: the offline stand-in for IMDB.

On reviews that it has not seen, no language model gets below `entropy_per_token()` nats per token on average
(perplexity exp(entropy)): its loss minus this floor is what it still has to learn. Tokens are the matches of
`TOKEN_PATTERN` in the lower-cased text (words and punctuation marks), plus one end-of-review token per review.

How to read the grammar: a rule is `name = alternative | alternative | ...`, equally likely unless a whole number before
an alternative gives its weight. `<name>` stands for whatever the rule of that name writes. `<feature:=name>` writes
nothing, but remembers one word of that rule for the rest of the alternative and for everything below it: from then on
`<feature>` writes this word, and `<name.feature>` is the rule called `name.word`. So the mood, the genre, the lead's
profession and pronoun, the star and the friend agree across the whole review, which no bigram can see. Written out for
every value of its features, this is an ordinary probabilistic context-free grammar, without recursion.

Entropy (Grenander 1967, "Syntax-controlled probabilities"; Soule 1974, "Entropies of probabilistic grammars",
Information and Control 25, 57-74): H(A) = sum over rules of p * (-ln p + sum of H over the children), in nats, and
E[tokens] likewise; without recursion there is no linear system to solve. This is the entropy of the derivations. It is
that of the texts as well, because no text has two derivations: every opening names the mood (by an adjective of that
mood only), the genre and the profession (by nouns) and the pronoun (her, his), so the hidden draws can be read off with
certainty. The tests prove the rest, by reading all texts of the grammar at once.
"""

import random
import re
from bisect import bisect
from functools import cache
from itertools import accumulate
from math import inf, log

TOKEN_PATTERN = r"[a-z']+|[.,!?;:-]"

# Rules end with the line or with " ; "; a line that begins with "|" continues the one above.
# Films are "a endless western" here: the article becomes "an" when the text is set.
GRAMMAR = """
review = <mood:=moods> <genre:=genres> <role:=roles.genre> <lead:=leads> <body>
body = <blurb> | <premise> <verdict> | 2 <premise> <plot> <verdict> | 3 <premise> <plot> <craft> <verdict>
  | 3 <premise> <star:=stars.lead> <acting> <craft> <farewell>
  | 4 <premise> <plot> <star:=stars.lead> <acting> <moment> <farewell>
  | 3 <kin:=leads> <friend:=friends.kin> <outing> <premise> <moment> <reaction>
  | 3 <kin:=leads> <friend:=friends.kin> <outing> <premise> <plot> <craft> <reaction> <verdict>
moods = good | bad ; genres = western | thriller | romance | horror | space ; leads = she | he
whose.she = her ; whose.he = his ; whom.she = her ; whom.he = him
roles.western = sheriff | rancher | gunslinger | undertaker ; roles.thriller = detective | spy | locksmith | accountant
roles.romance = florist | baker | librarian | poet ; roles.horror = gravedigger | babysitter | organist | dollmaker
roles.space = pilot | botanist | smuggler | engineer
stars.she = Lind | Moreau | Castellani | Okafor | Barbosa ; stars.he = Hale | Petrov | Yamada | Dupont | Mbeki
friends.she = sister | grandmother | aunt | daughter ; friends.he = uncle | nephew | brother | grandfather

blurb = <film> about <hero> who <quest> , and I <felt.mood> .
premise = this is <film> about <hero> who <quest> . | what <film> : <hero> <quest> !
  | <film> , in which <hero> <quest> . | <quality.mood> <kind.genre> : <hero> <quest> .
  | I expected a <thing> and got a <quality.mood> <kind.genre> about <hero> who <quest> .
film = a <style> <kind.genre> ; style = <quality.mood> | <truly> <quality.mood> | <quality.mood> , <tone.mood>
truly = truly | strangely | simply | surprisingly | utterly | oddly
quality.good = wonderful | delightful | brilliant | gripping | dazzling | witty | superb | elegant | lovely | flawless
quality.bad = dreadful | tedious | pointless | lazy | hollow | shapeless | clumsy | awful | endless | wooden
tone.good = warm | wise | playful | bold | graceful | tender | inventive | radiant
tone.bad = sour | noisy | joyless | muddled | smug | stale | flat | confusing
kind.western = western | cowboy film ; kind.thriller = thriller | crime film ; kind.romance = romance | love story
kind.horror = horror film | ghost story ; kind.space = space opera | space film
hero = a <trait> <role> | 2 a <temper> <trait> <role>
temper = stubborn | shy | cheerful | jealous | restless | forgetful | polite | reckless | grumpy | clever | vain | moody
trait = retired | lonely | penniless | famous | elderly | sleepless | homesick | married | barefoot | nearsighted
quest = <feat> | <feat> <place.genre> | <feat> <before> <hour> ; feat = <action> <whose.lead> <item>
action = <manner> <does> | 2 <does> ; item = <thing> | 2 <precious> <thing>
manner = secretly | slowly | proudly | accidentally | finally | nearly | nobly | politely | barely | suddenly | bravely
does = loses | rescues | follows | forgives | adores | blames | buries | kidnaps | betrays | serenades | mourns | hires
  | ignores | insults | misses | trusts | fears | chases | photographs | marries | outwits | imitates | tickles | envies
precious = beloved | secret | stolen | broken | priceless | talking | tiny | haunted | wet | rusty | missing | borrowed
thing = umbrella | piano | diary | bicycle | parrot | cat | violin | suitcase | map | teapot | goldfish | accordion
  | horse | mule | banjo | passport | alibi | ring | garden | doll | coffin | shadow | robot | spaceship | clone | moon
place.western = in Texas | in the desert | at the saloon ; place.thriller = in Vienna | in the fog | at the casino
place.romance = in Paris | in the snow | at a wedding ; place.horror = in the crypt | in the attic | at a seance
place.space = in orbit | on Mars | beyond Saturn ; before = before | after ; hour = dawn | noon | midnight | breakfast

plot = <soon> <person> <action> <whose.lead> <item> . | <soon> <person> <action> <whom.lead> , and the <role> <reply> .
  | <soon> <lead> <learns> that <person> is <whose.lead> <trait> <relation> . | <soon> <lead> <action> <person> .
soon = soon | then | meanwhile | later | tonight | afterwards ; learns = learns | dreams | discovers | hears
reply = faints | sings | flees | laughs | weeps | vanishes
person = the <foe.genre> | the <temper> <foe.genre> | the <trait> <foe.genre> | <whose.lead> <temper> <relation>
foe.western = bandit | banker | preacher | mayor | outlaw ; foe.thriller = butler | assassin | minister | concierge
foe.romance = count | chef | violinist | waiter | painter ; foe.horror = ghost | vampire | butcher | ventriloquist
foe.space = android | captain | alien | emperor | astronomer
relation = neighbor | landlord | dentist | professor | tailor | nurse | plumber | magician | barber | lawyer | cousin
acting = <star> is as <tone.mood> as a <precious> <thing> . | <star> , <tone.mood> and <quality.mood> , <plays.mood> .
plays.good = steals every scene | lights up the screen | makes even <whose.lead> <thing> funny
plays.bad = mumbles every line | talks like a <thing> | forgets <whose.lead> script
craft = 2 <quality.mood> <picture> , <tone.mood> <story> , <temper> <props.genre> .
  | the <picture> is <tone.mood> , and the <temper> <props.genre> <perform.mood> .
picture = photography | lighting | music | editing | sound ; story = dialogue | plot | humor | pace | suspense
props.western = horses | hats | gunfights | sunsets ; props.thriller = chases | alibis | trains | rooftops
props.romance = kisses | umbrellas | letters | violins ; props.horror = screams | candles | cobwebs | bats
props.space = lasers | helmets | explosions | comets
perform.good = shine | dazzle | sparkle | dance | deserve a award
perform.bad = wobble | squeak | bore | fade | outnumber the ideas
moment = I <felt.mood> when <lead> <action> <person> . | when <person> <action> <whose.lead> <item> , I <felt.mood> .
felt.good = wept | cheered | laughed | applauded | grinned | danced
felt.bad = yawned | groaned | sighed | dozed | snored | left
outing = my <temper> <friend> had tickets . | my <friend> <manner> chose this . | I went with my <temper> <friend> .
reaction = my <friend> <manner> <felt.mood> . | my <friend> <reacts.mood> .
reacts.good = hugged <whose.kin> <relation> | wants to be a <role> now
reacts.bad = called <whose.kin> <relation> | wants <whose.kin> money back
farewell = <verdict> | <tribute.mood>
tribute.good = <star> deserves a award ! | see it for <star> . ; tribute.bad = poor <star> ! | <star> deserves better .
verdict = <score.mood> stars . | <quality.mood> and <tone.mood> ! | <advice.mood> .
score.good = seven | eight | nine | ten ; score.bad = zero | no | two | three
advice.good = bring your <relation> | bring your <thing>
advice.bad = call your <relation> instead | <wash> your <thing> instead
wash = wash | polish | tune | paint | hide | feed
"""


def _alternatives(text):
    """[(weight, pieces)] of the right-hand side of a rule."""
    weighted = [re.match(r"(\d*) ?(.*)", alternative).groups() for alternative in text.split(" | ")]
    return [(int(weight or 1), alternative.split()) for weight, alternative in weighted]


_LINES = re.split(r" ; |\n+", GRAMMAR.strip().replace("\n  |", " |"))
RULES = {name: _alternatives(text) for name, text in (line.split(" = ") for line in _LINES)}
FEATURES = frozenset(re.findall(r"(\w+):=", GRAMMAR))
START = ("review", ())


@cache
def _needs(name):
    """Features that the words below the rules called `name` depend on, so that equal rules share one symbol."""
    pieces = " ".join(p for rule in RULES if rule.split(".")[0] == name for _, text in RULES[rule] for p in text)
    used = set()
    for reference in re.findall(r"<(?:\w+:=)?([\w.]+)>", pieces):
        head, *features = reference.split(".")
        used |= {head} if head in FEATURES else _needs(head).union(features)
    return used.difference(re.findall(r"(\w+):=", pieces))


def _rule(reference, state):
    """The rule that `name.feature` stands for in this state, e.g. felt.mood -> felt.good."""
    name, *features = reference.split(".")
    return ".".join([name, *(state[feature] for feature in features)])


def _write_out(pieces, state):
    """[(probability, symbols)] of one alternative: one entry for every value of the features it draws."""
    if not pieces:
        return [(1.0, ())]
    piece, rest = pieces[0].strip("<>"), pieces[1:]
    if ":=" in piece:
        feature, source = piece.split(":=")
        words = [text[0] for _, text in RULES[_rule(source, state)]]
        return [(p / len(words), s) for word in words for p, s in _write_out(rest, {**state, feature: word})]
    symbol = state.get(piece, piece)
    if piece != pieces[0] and piece not in state:
        known = _needs(piece.split(".")[0])
        symbol = (_rule(piece, state), tuple((name, word) for name, word in state.items() if name in known))
    return [(p, (symbol, *symbols)) for p, symbols in _write_out(rest, state)]


@cache
def productions(symbol):
    """[(probability, symbols)] of a nonterminal, which is (rule, features it knows); a terminal is a plain string."""
    rule, state = symbol
    total = sum(weight for weight, _ in RULES[rule])
    return [(weight / total * p, s) for weight, pieces in RULES[rule] for p, s in _write_out(pieces, dict(state))]


@cache
def _entropy_and_length(symbol):
    """Entropy (nats) and expected number of tokens of what a symbol writes."""
    if isinstance(symbol, str):
        return 0.0, 1.0
    entropy = length = 0.0
    for probability, symbols in productions(symbol):
        children = [_entropy_and_length(child) for child in symbols]
        entropy += probability * (-log(probability) + sum(nats for nats, _ in children))
        length += probability * sum(tokens for _, tokens in children)
    return entropy, length


def entropy_per_token() -> float:
    """True entropy of the grammar in nats per token: H(review) / E[tokens in a review, end of review included]."""
    entropy, length = _entropy_and_length(START)
    return entropy / (length + 1)


@cache
def _cumulative(symbol):
    return list(accumulate(probability for probability, _ in productions(symbol)))


def _review(generator):
    words, stack = [], [START]
    while stack:
        symbol = stack.pop()
        if isinstance(symbol, str):
            words.append(symbol)
        else:
            bounds = _cumulative(symbol)
            _, symbols = productions(symbol)[bisect(bounds, generator.random(), hi=len(bounds) - 1)]
            stack.extend(reversed(symbols))
    text = re.sub(r" ([.,!?:])", r"\1", " ".join(words))
    text = re.sub(r"\ba (?=[aeiou])", "an ", text)
    return re.sub(r"(?:^|[.!?] )[a-z]", lambda start: start[0].upper(), text)


def draw(count: int, seed: int) -> list[str]:
    """`count` reviews as plain text; review i depends on (seed, i) only, so fewer reviews are a prefix of more."""
    # random() of a Random seeded with a string is what Python promises to keep the same in later versions.
    return [_review(random.Random(f"{seed}:{index}")) for index in range(count)]


def log_probability(text: str) -> float:
    """Logarithm of the probability of a text, judged by its tokens (nats); -inf if the grammar cannot write it."""
    words = " ".join(re.findall(TOKEN_PATTERN, text.lower()))
    # Swapped before vowels, "an" becomes the "a" of the grammar and a mistaken "a" the "an" that it does not know.
    tokens = re.sub(r"\ban? (?=[aeiou])", lambda article: "a " if article[0] == "an " else "an ", words).split()

    @cache
    def ends(symbols, start):
        """{position after the symbols: probability} if they begin at token `start`."""
        if not symbols:
            return {start: 1.0}
        first, rest = symbols[:1], symbols[1:]
        if isinstance(first[0], str):
            return ends(rest, start + 1) if tokens[start : start + 1] == [first[0].lower()] else {}
        found = {}
        for probability, beginning in [(1.0, first)] if rest else productions(first[0]):
            for middle, mass in ends(beginning, start).items():
                for end, p in ends(rest, middle).items():
                    found[end] = found.get(end, 0.0) + probability * mass * p
        return found

    probability = ends((START,), 0).get(len(tokens), 0.0)
    return log(probability) if probability else -inf
