"""Rules for choosing the next activity, compared on virtual patients by the same random numbers.

A cohort's truth is an outlook whose draws are patients (`virtual`, `cohort`); a clinic measures it with errors
(`measure`), an estimator learns from that (`belief`), and a policy, one small class, gives each patient the next
activity (`policy`, `knowing`). `trial` runs them and says what each gains and how often a limit is passed.
docs/policies.md has results.
"""

from twin.policies.belief import DoseBelief, DosePrior, dose_prior
from twin.policies.cohort import Cohort
from twin.policies.gate import Gate, kidney_gate
from twin.policies.knowing import ChanceTwin, Oracle
from twin.policies.measure import Noise, noise_of
from twin.policies.policy import AbstractPolicy, Fixed, LastCycle, State, StopRule
from twin.policies.standard import standard_policies
from twin.policies.trial import Compared, compare
from twin.policies.virtual import virtual_cohort

__all__ = [
    "AbstractPolicy",
    "ChanceTwin",
    "Cohort",
    "Compared",
    "DoseBelief",
    "DosePrior",
    "Fixed",
    "Gate",
    "LastCycle",
    "Noise",
    "Oracle",
    "State",
    "StopRule",
    "compare",
    "dose_prior",
    "kidney_gate",
    "noise_of",
    "standard_policies",
    "virtual_cohort",
]
