"""collate keys"""

from alembic import op

revision = "b41f7a2c9d36"
down_revision = "7d27952cdf17"
branch_labels = None
depends_on = None

# A migration that waits for a lock makes every request behind it wait too: better to give up and try again later.
LOCK_TIMEOUT = "SET LOCAL lock_timeout = '3s'"


# lock: about 2 s for 1,000,000 rows. backend/groundwork/docs/collations.md says what to run before it for large tables.
def upgrade() -> None:
    op.execute(LOCK_TIMEOUT)
    op.execute(
        'ALTER TABLE idempotency_keys ALTER COLUMN user_id TYPE VARCHAR(255) COLLATE "C", '
        'ALTER COLUMN key TYPE VARCHAR(255) COLLATE "C"'
    )
    op.execute('ALTER TABLE tasks ALTER COLUMN user_id TYPE VARCHAR(255) COLLATE "C"')


def downgrade() -> None:
    op.execute(LOCK_TIMEOUT)
    op.execute('ALTER TABLE tasks ALTER COLUMN user_id TYPE VARCHAR(255) COLLATE "default"')
    op.execute(
        'ALTER TABLE idempotency_keys ALTER COLUMN user_id TYPE VARCHAR(255) COLLATE "default", '
        'ALTER COLUMN key TYPE VARCHAR(255) COLLATE "default"'
    )
