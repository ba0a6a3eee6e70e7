"""collate keys"""

from alembic import op

revision = "b41f7a2c9d36"
down_revision = "7d27952cdf17"
branch_labels = None
depends_on = None

# A migration that waits for a lock makes every request behind it wait too: better to give up and try again later.
LOCK_TIMEOUT = "SET LOCAL lock_timeout = '3s'"
KEYS = """
    ALTER TABLE idempotency_keys
        ALTER COLUMN user_id TYPE VARCHAR(255) COLLATE "{0}",
        ALTER COLUMN key TYPE VARCHAR(255) COLLATE "{0}"
"""
# PostgreSQL cannot alter the column by which a table is partitioned, as docs/scaling.md does with this one.
TASKS = """
    DO $$ BEGIN
        IF (SELECT relkind FROM pg_class WHERE oid = 'tasks'::regclass) = 'r' THEN
            ALTER TABLE tasks ALTER COLUMN user_id TYPE VARCHAR(255) COLLATE "{}";
        END IF;
    END $$
"""


# lock: about 2 s for 1,000,000 rows. backend/groundwork/docs/collations.md says what to run before it for large tables.
def upgrade() -> None:
    op.execute(LOCK_TIMEOUT)
    op.execute(KEYS.format("C"))
    op.execute(TASKS.format("C"))


def downgrade() -> None:
    op.execute(LOCK_TIMEOUT)
    op.execute(TASKS.format("default"))
    op.execute(KEYS.format("default"))
