"""The functions that a statement may call: those of PostgreSQL that read only their arguments and the session.

Other functions could read any table, such as functions that the database defines, or `query_to_xml`, which runs SQL.
"""

_OF_POSTGRESQL = """
any_value array_agg avg bit_and bit_or bool_and bool_or count every json_agg json_object_agg jsonb_agg jsonb_object_agg
max min mode percentile_cont percentile_disc stddev stddev_pop stddev_samp string_agg sum var_pop var_samp variance
cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number
coalesce greatest least nullif
age clock_timestamp current_date current_time current_timestamp date_bin date_part date_trunc extract isfinite
justify_days justify_hours justify_interval localtime localtimestamp make_date make_interval make_time make_timestamp
make_timestamptz now statement_timestamp timezone to_char to_date to_timestamp transaction_timestamp
aggregate_strings ascii bit_length btrim char_length character_length chr concat concat_ws decode encode format initcap
left length lower lpad ltrim md5 normalize octet_length overlay position regexp_count regexp_instr regexp_like
regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr repeat replace
reverse right rpad rtrim sha256 sha512 similarity split_part starts_with string_to_array string_to_table strpos substr
substring to_hex translate trim upper word_similarity
abs ceil ceiling cbrt div exp floor gcd lcm ln log mod power random round sign sqrt to_number trunc width_bucket
array array_append array_cat array_dims array_length array_lower array_ndims array_position array_positions
array_prepend array_remove array_replace array_to_string array_upper cardinality generate_series generate_subscripts
unnest
json_array_elements json_array_elements_text json_array_length json_build_array json_build_object json_each
json_each_text json_extract_path json_extract_path_text json_object json_object_keys json_typeof jsonb_array_elements
jsonb_array_elements_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text
jsonb_extract_path jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_keys jsonb_path_exists
jsonb_path_match jsonb_path_query jsonb_path_query_array jsonb_path_query_first jsonb_pretty jsonb_set
jsonb_strip_nulls jsonb_typeof row row_to_json to_json to_jsonb
gen_random_uuid uuid_extract_timestamp uuidv4 uuidv7
phraseto_tsquery plainto_tsquery setweight to_tsquery to_tsvector ts_headline ts_rank ts_rank_cd websearch_to_tsquery
daterange int4range int8range isempty lower_inc lower_inf numrange tsrange tstzrange upper_inc upper_inf
bit_count crc32 get_byte hashtext hashtextextended pg_advisory_xact_lock pg_try_advisory_xact_lock
bernoulli system
current_database current_role current_schema current_setting current_user pg_backend_pid pg_notify pg_sleep session_user
version
"""
_known: set[str] = set(_OF_POSTGRESQL.split())
reasons: dict[str, str] = {}
"""The functions that are declared harmless, with their reasons."""
_PACKAGES = ((), ("pg_catalog",))


def harmless(*names: str, reason: str) -> None:
    """Allow statements to call functions of these names. Call it at import, before the first such statement.

    Args:
        names: each a function's name, or "schema.name" for a function outside PostgreSQL's own schema.
        reason: a sentence that says why the functions reach no user's rows. It is for the reader of the code.

    Raises:
        TypeError: the reason is empty.
    """
    if not reason:
        raise TypeError(f"say in a sentence why {', '.join(names)} reach no user's rows")
    _known.update(names)
    reasons.update(dict.fromkeys(names, reason))


def is_known_function(package: tuple[str, ...], name: str) -> bool:
    """Whether a statement may call the function. `package` is the schema that the statement names, if it names one."""
    return (package in _PACKAGES and name.lower() in _known) or ".".join((*package, name)) in _known
