-- What assay's role needs, for the owner of the payments' table to run once, with the names of the configuration:
--   psql -v role=assay -v schema=assay -v rows_schema=public -v rows=payments -v key=id -v score=fraud_score \
--        -v version=model_version -v flag=is_flagged -v fourth=revision -v database=shop -f schemas/postgres/grants.sql
-- Without a fourth column leave `-v fourth=…` out; with a time instead of a revision its SELECT does no harm.

GRANT CONNECT ON DATABASE :"database" TO :"role";
-- assay's own schema: tables there are made and changed by its own migrations.
CREATE SCHEMA IF NOT EXISTS :"schema" AUTHORIZATION :"role";
-- The payments' table: these columns and no other; no INSERT, no DELETE.
GRANT USAGE ON SCHEMA :"rows_schema" TO :"role";
GRANT SELECT (:"key"), UPDATE (:"score", :"version", :"flag") ON :"rows_schema".:"rows" TO :"role";
\if :{?fourth}
GRANT SELECT (:"fourth"), UPDATE (:"fourth") ON :"rows_schema".:"rows" TO :"role";
\endif
-- Tables or views of reference data (reference.tables), where there are some: one by one, with
-- `-v reference_schema=shop -v reference=merchants`.
\if :{?reference}
GRANT USAGE ON SCHEMA :"reference_schema" TO :"role";
GRANT SELECT ON :"reference_schema".:"reference" TO :"role";
\endif
