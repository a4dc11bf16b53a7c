"""All tables together: whoever wants the schema described asks here, and gets it whole whatever was imported before."""

from db import (  # noqa: F401 (a table is described once its module is loaded)
    tables,
    tables_accounts,
    tables_analyses,
    tables_associations,
    tables_audit,
    tables_exchange,
    tables_health,
    tables_judgements,
    tables_models,
    tables_releases,
    tables_scanners,
)
from db.base import Base

METADATA = Base.metadata
