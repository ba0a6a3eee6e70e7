"""The contract: what every resource promises, as tests. A module with RESOURCES and DIFFERS gets them by

from groundwork.testing.contract import *
"""

from groundwork.testing.contract.bad_input import *
from groundwork.testing.contract.conditional import *
from groundwork.testing.contract.coverage import *
from groundwork.testing.contract.document import *
from groundwork.testing.contract.idempotency import *
from groundwork.testing.contract.members import *
from groundwork.testing.contract.migrations import *
from groundwork.testing.contract.ownership import *
from groundwork.testing.contract.paging import *
from groundwork.testing.contract.sorting import *
from groundwork.testing.contract.statements import *
from groundwork.testing.contract.unique_values import *
from groundwork.testing.contract.user_data import *
