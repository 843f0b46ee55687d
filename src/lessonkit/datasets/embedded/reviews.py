"""Film reviews from a small probabilistic grammar whose true entropy is known: the offline stand-in for IMDB.

A language model fitted to these reviews cannot get below `entropy_per_token()` nats per token (perplexity
exp(entropy)): its loss minus this floor is exactly what it still has to learn. Tokens are the matches of
`TOKEN_PATTERN` in the lower-cased text (words and punctuation marks), plus one end-of-review token per review.

How to read the grammar: a rule is `name = alternative | alternative | ...`, equally likely unless a whole number before
an alternative gives its weight. `<name>` stands for whatever the rule of that name writes. `<feature:=name>` writes
nothing, but remembers one word of that rule for the rest of the alternative and everything below it; from then on
`<feature>` writes the word, and `<name.feature>` is the rule called `name.word`. So the mood, the genre, the profession
and pronoun of the lead and the name of the star agree across the whole review, which no bigram can see. Written out for
every value of its features, this is an ordinary probabilistic context-free grammar, without recursion.

Entropy (Grenander 1967, "Syntax-controlled probabilities"; Soule 1974, "Entropies of probabilistic grammars",
Information and Control 25): H(A) = sum_p p * (-ln p + sum of H over the children) in nats, and E[tokens] likewise;
without recursion no linear system is needed. This is the entropy of the derivations. It is also that of the texts,
because no text has two derivations: every opening names the mood (by an adjective exclusive to it), the genre and the
profession (by nouns) and the pronoun (her, his), so the hidden draws can be read off with certainty; that the rest is
unambiguous as well, the tests prove by comparing every pair of derivations.
"""

import random
import re
from collections import Counter
from functools import cache
from math import inf, log

TOKEN_PATTERN = r"[a-z']+|[.,!?;:-]"

GRAMMAR = """
review = <mood:=moods> <genre:=genres> <role:=roles.genre> <lead:=leads> <body>
body = <blurb> | <premise> <verdict> | 2 <premise> <plot> <verdict> | 3 <premise> <plot> <craft> <verdict>
  | 3 <premise> <star:=stars.lead> <acting> <craft> <farewell>
  | 4 <premise> <plot> <star:=stars.lead> <acting> <moment> <farewell>
  | 3 <kin:=leads> <friend:=friends.kin> <outing> <premise> <moment> <reaction>
  | 3 <kin:=leads> <friend:=friends.kin> <outing> <premise> <plot> <craft> <reaction> <verdict>
moods = good | bad
genres = western | thriller | romance | horror | space
leads = she | he
whose.she = her
whose.he = his
whom.she = her
whom.he = him
roles.western = sheriff | rancher | gunslinger | undertaker
roles.thriller = detective | spy | locksmith | accountant
roles.romance = florist | baker | librarian | poet
roles.horror = gravedigger | babysitter | organist | dollmaker
roles.space = pilot | botanist | smuggler | engineer
stars.she = Lind | Moreau | Castellani | Okafor | Barbosa
stars.he = Hale | Petrov | Yamada | Dupont | Mbeki
friends.she = sister | grandmother | aunt | daughter
friends.he = uncle | nephew | brother | grandfather

blurb = <film> about <hero> who <quest> , and I <felt.mood> .
premise = this is <film> about <hero> who <quest> . | what <film> : <hero> <quest> ! | <film> , in which <hero> <quest> .
  | I expected a <thing> and got a <quality.mood> <kind.genre> about <hero> who <quest> .
  | <quality.mood> <kind.genre> : <hero> <quest> .
film = a <quality.mood> <kind.genre> | a <truly> <quality.mood> <kind.genre> | a <quality.mood> , <tone.mood> <kind.genre>
truly = truly | strangely | simply | surprisingly | utterly | oddly
quality.good = wonderful | delightful | brilliant | gripping | dazzling | witty | unforgettable | superb | elegant | lovely
quality.bad = dreadful | tedious | pointless | lazy | hollow | shapeless | clumsy | awful | endless | wooden
tone.good = warm | wise | playful | bold | graceful | tender | inventive | radiant
tone.bad = sour | noisy | joyless | muddled | smug | stale | flat | confusing
kind.western = western | cowboy film
kind.thriller = thriller | crime film
kind.romance = romance | love story
kind.horror = horror film | ghost story
kind.space = space opera | space film
hero = a <trait> <role> | 2 a <temper> <trait> <role>
temper = stubborn | shy | cheerful | jealous | restless | forgetful | polite | reckless | superstitious | grumpy | clever | vain
trait = retired | lonely | penniless | famous | elderly | sleepless | nearsighted | young | homesick | married | hungry | barefoot
quest = <action> <whose.lead> <possession> | 2 <action> <whose.lead> <possession> <place.genre>
action = <manner> <does> | 2 <does>
manner = secretly | slowly | proudly | accidentally | finally | nearly | nobly | politely | barely | suddenly | bravely | quietly
does = loses | rescues | follows | forgives | adores | blames | buries | kidnaps | betrays | serenades | mourns | ignores
  | insults | misses | trusts | suspects | chases | photographs | marries | outwits | finds | hires | imitates | tickles | envies
possession = <thing> | 2 <precious> <thing>
precious = beloved | secret | stolen | broken | priceless | talking | tiny | haunted | wet | rusty | missing | borrowed
thing = umbrella | piano | diary | bicycle | parrot | cat | violin | suitcase | map | teapot | goldfish | accordion | horse
  | mule | banjo | passport | alibi | ring | garden | doll | coffin | shadow | robot | spaceship | clone | moon
place.western = in Texas | in the desert | at the saloon | <before> <hour>
place.thriller = in Vienna | in the fog | at the casino | <before> <hour>
place.romance = in Paris | in the snow | at a wedding | <before> <hour>
place.horror = in the crypt | in the attic | at a seance | <before> <hour>
place.space = in orbit | on Mars | beyond Saturn | <before> <hour>
before = before | after
hour = dawn | noon | midnight | breakfast | dinner

plot = <soon> <person> <action> <whose.lead> <possession> . | <soon> <person> <action> <whom.lead> , and the <role> <reply> .
  | <soon> <lead> <learns> that <person> is <whose.lead> <trait> <relation> . | <soon> <lead> <action> <person> .
soon = soon | then | meanwhile | later | tonight | afterwards
learns = learns | dreams | discovers | hears
reply = faints | sings | flees | laughs | weeps | vanishes
person = the <villain.genre> | the <temper> <villain.genre> | the <trait> <villain.genre> | <whose.lead> <temper> <relation>
villain.western = bandit | banker | preacher | mayor | outlaw
villain.thriller = butler | assassin | minister | concierge | informer
villain.romance = count | chef | violinist | waiter | painter
villain.horror = ghost | vampire | butcher | ventriloquist | scarecrow
villain.space = android | captain | alien | emperor | astronomer
relation = neighbor | landlord | dentist | professor | tailor | nurse | plumber | magician | barber | lawyer | cousin | twin
acting = <star> is as <tone.mood> as a <precious> <thing> . | <star> , <tone.mood> and <quality.mood> , <plays.mood> .
plays.good = steals every scene | lights up the screen | makes even <whose.lead> <thing> funny
plays.bad = mumbles every line | talks like a <thing> | forgets <whose.lead> script
craft = 2 <quality.mood> <picture> , <tone.mood> <story> , <temper> <props.genre> .
  | the <picture> is <tone.mood> , and the <temper> <props.genre> <perform.mood> .
picture = photography | lighting | music | editing | sound
story = dialogue | plot | humor | pace | suspense
props.western = horses | hats | gunfights | sunsets
props.thriller = chases | alibis | trains | rooftops
props.romance = kisses | umbrellas | letters | violins
props.horror = screams | candles | cobwebs | bats
props.space = lasers | helmets | explosions | comets
perform.good = shine | dazzle | sparkle | dance | deserve a award
perform.bad = wobble | squeak | bore | fade | outnumber the ideas
moment = I <felt.mood> when <lead> <action> <person> . | when <person> <action> <whose.lead> <possession> , I <felt.mood> .
felt.good = wept | cheered | laughed | applauded | grinned | danced
felt.bad = yawned | groaned | sighed | dozed | snored | left
outing = my <temper> <friend> had tickets . | my <temper> <friend> <manner> chose this . | I went with my <temper> <friend> .
reaction = my <friend> <manner> <felt.mood> . | my <friend> <reacts.mood> .
reacts.good = hugged <whose.kin> <relation> | wants to be a <role> now
reacts.bad = called <whose.kin> <relation> | wants <whose.kin> money back
farewell = <verdict> | <tribute.mood>
tribute.good = <star> deserves a award ! | see it for <star> .
tribute.bad = poor <star> ! | <star> deserves better .
verdict = <score.mood> stars . | <quality.mood> and <tone.mood> ! | <advice.mood> .
score.good = seven | eight | nine | ten
score.bad = zero | two | three | four
advice.good = bring your <relation> | bring your <thing>
advice.bad = call your <relation> instead | <wash> your <thing> instead
wash = wash | polish | tune | paint | hide | feed
"""

RULES = dict(line.split(" = ") for line in GRAMMAR.replace("\n  |", " |").splitlines() if line)
FEATURES = frozenset(re.findall(r"(\w+):=", GRAMMAR))


@cache
def _needs(name):
    """Features that the words written by the rules called `name` depend on."""
    text = " ".join(right for left, right in RULES.items() if left.split(".")[0] == name)
    needed = set()
    for reference in re.findall(r"<(?:\w+:=)?([\w.]+)>", text):
        head, *features = reference.split(".")
        needed |= {head} if head in FEATURES else _needs(head).union(features)
    return (needed & FEATURES).difference(re.findall(r"(\w+):=", text))


def _key(reference, state):
    """Name of the rule that `name.feature` means in this state, e.g. craft.mood -> craft.good."""
    head, *features = reference.split(".")
    return ".".join([head, *(state.get(feature, feature) for feature in features)])


def _written_out(pieces, state):
    """(probability, symbols) of one alternative for every value of the features it draws."""
    if not pieces:
        return [(1.0, ())]
    piece, rest = pieces[0].strip("<>"), pieces[1:]
    if ":=" in piece:
        feature, source = piece.split(":=")
        words = RULES[_key(source, state)].split(" | ")
        return [(p / len(words), s) for word in words for p, s in _written_out(rest, {**state, feature: word})]
    symbol = state.get(piece, piece)
    if pieces[0].startswith("<") and piece not in state:
        known = _needs(piece.split(".")[0])
        symbol = (_key(piece, state), tuple((name, word) for name, word in state.items() if name in known))
    return [(p, (symbol, *symbols)) for p, symbols in _written_out(rest, state)]


@cache
def productions(symbol):
    """[(probability, symbols)] of a nonterminal (rule name, features it knows); a terminal is a plain string."""
    name, state = symbol
    weighted = [re.match(r"(\d*) ?(.*)", right).groups() for right in RULES[name].split(" | ")]
    total = sum(int(weight or 1) for weight, _ in weighted)
    return [
        (int(weight or 1) / total * probability, symbols)
        for weight, right in weighted
        for probability, symbols in _written_out(right.split(), dict(state))
    ]


START = ("review", ())


@cache
def _entropy_and_length(symbol):
    """Entropy (nats) and expected number of tokens of what a symbol writes."""
    if isinstance(symbol, str):
        return 0.0, 1.0
    entropy = length = 0.0
    for probability, symbols in productions(symbol):
        children = [_entropy_and_length(child) for child in symbols]
        entropy += probability * (-log(probability) + sum(h for h, _ in children))
        length += probability * sum(n for _, n in children)
    return entropy, length


def entropy_per_token() -> float:
    """True entropy of the grammar in nats per token: H(review) / E[tokens in a review, end-of-review included]."""
    entropy, length = _entropy_and_length(START)
    return entropy / (length + 1)


def _review(generator):
    words, stack = [], [START]
    while stack:
        symbol = stack.pop()
        if isinstance(symbol, str):
            words.append(symbol)
        else:
            remainder = generator.random()
            for probability, symbols in productions(symbol):
                remainder -= probability
                if remainder < 0:
                    break
            stack.extend(reversed(symbols))
    text = re.sub(r" ([.,!?;:])", r"\1", " ".join(words))
    text = re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)  # the grammar writes "a" everywhere
    return re.sub(r"(?:^|[.!?] )[a-z]", lambda match: match[0].upper(), text)


def draw(count: int, seed: int) -> list[str]:
    """`count` reviews as plain text; review i depends on (seed, i) only, so fewer reviews are a prefix of more."""
    # Only Random.random() of a string seed is promised to stay the same in later versions of Python.
    return [_review(random.Random(f"{seed}:{index}")) for index in range(count)]


def log_probability(text: str) -> float:
    """Natural logarithm of the probability of a review (nats); -inf if the grammar cannot write it."""
    tokens = ["a" if token == "an" else token for token in re.findall(TOKEN_PATTERN, text.lower())]

    @cache
    def ends(symbol, start):
        """{position after the symbol: probability}, if it is to begin at token `start`."""
        if isinstance(symbol, str):
            return {start + 1: 1.0} if tokens[start : start + 1] == [symbol.lower()] else {}
        found = Counter()
        for probability, symbols in productions(symbol):
            reached = {start: probability}
            for child in symbols:
                step = Counter()
                for middle, mass in reached.items():
                    for end, part in ends(child, middle).items():
                        step[end] += mass * part
                reached = step
            found.update(reached)
        return found

    total = ends(START, 0).get(len(tokens), 0.0)
    return log(total) if total else -inf
