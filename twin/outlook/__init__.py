"""What a patient's coming cycles would do, as smooth functions of activity, ligand amount and tumour size.

A few batched solves of the PBPK model make the surfaces (`build`); any schedule is then read off them in milliseconds
(`read`), differentiable and without another solve. docs/planning.md says when that is exact and how it is checked.
"""

from twin.outlook.build import outlook_of, usual_amount_nmol
from twin.outlook.read import Coming, Doses, coming, doses
from twin.outlook.surface import MOST_CYCLES, Outlook

__all__ = ["MOST_CYCLES", "Coming", "Doses", "Outlook", "coming", "doses", "outlook_of", "usual_amount_nmol"]
