"""Names of containers: which are allowed, and the ones given to the nameless."""

import random
import re

from skerry.core.errors import InvalidArgument

_ALLOWED = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+\Z")
_LONGEST = 255

_ADJECTIVES = (  # noqa: SIM905 - a hundred quotes would hide the words
    "able amber ample apt ardent balmy bold brave breezy brisk calm candid careful cheery clear clever coastal cosy crisp curious daring "
    "deft dreamy eager earnest easy even fair fancy fearless festive fleet fond frank fresh gallant gentle genuine glad golden graceful "
    "grand happy hardy hearty helpful honest hopeful humble jolly jovial keen kind lively loyal lucid lucky mellow merry mighty mild "
    "modest neat nimble noble patient peaceful placid plucky polite proud prudent quick quiet radiant ready robust rustic serene sharp "
    "silent sincere smart snug sober spry stable steady sturdy sunny swift tender thrifty tidy tranquil trusty upbeat valiant vivid warm "
    "watchful windy wise witty wry zealous zesty"
).split()
# People who charted coasts, built lights, measured the sea and the sky, or made machines count.
_NOUNS = (  # noqa: SIM905
    "amundsen anning aryabhata banneker baret beaufort bellingshausen bowditch brahe bruce bunyan cabot carson celsius challenger cook "
    "cousteau curie dampier darwin davis delambre dias drake earle ekman ericson euler fahrenheit fitzroy flinders forbes franklin "
    "fresnel frobisher galilei gama germain halley harrison helland herschel hipparchus hooke hudson humboldt huygens hypatia majid "
    "jeffreys kepler khayyam laplace leavitt lovelace magellan maury mercator meitner mitchell nansen napier newcomb noether nordenskiold "
    "ortelius piccard polo ptolemy pytheas rossby ross scoresby shackleton shannon smeaton somerville stevenson stommel tharp thales "
    "torricelli turing vespucci wallace wallis wegener zheng"
).split()


def check_name(name: str, *, shown: str = "") -> None:
    """Raises InvalidArgument in Docker's words when name (without "/") is not allowed; shown: how the text has it."""
    if not _ALLOWED.match(name) or len(name) > _LONGEST:
        raise InvalidArgument(f"Invalid container name ({shown or name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")


def propose_name(attempt: int = 0) -> str:
    """Returns adjective_noun; from the second attempt on with a digit behind it, as the first was taken."""
    name = f"{random.choice(_ADJECTIVES)}_{random.choice(_NOUNS)}"
    return name if attempt == 0 else f"{name}{random.randrange(10 ** min(attempt, 9))}"
