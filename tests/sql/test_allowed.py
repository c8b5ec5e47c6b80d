"""Every node and function of the installed DuckDB was looked at: a release that brings a new one
turns this red until it is listed in `flowpeer.query.allowed`, or here as left out.
"""

from __future__ import annotations

import re
from pathlib import Path

import _duckdb
import duckdb

from flowpeer.query import allowed
from flowpeer.query.check import _OWN_NAMES


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LEFT_OUT_NODES = _words(
    """
    BOUND_SUBQUERY_NODE COPY_QUERY_NODE DELETE_QUERY_NODE EXECUTE_QUERY_NODE INSERT_QUERY_NODE
    MERGE_QUERY_NODE STATEMENT_NODE UPDATE_QUERY_NODE
    COMPARE_BETWEEN_ VALUE_DEFAULT_ VALUE_LIST_RELATION VALUE_NULL VALUE_SCALAR VALUE_TUPLE
    VALUE_TUPLE_ADDRESS VALUE_VECTOR WINDOW_FUNCTION_ENTRY WINDOW_SELF_JOIN OPERATOR_CHILD
    OPERATOR_EXPRESSION
    """
)
"""Query nodes that do more than read, and names of the binary's other enumerations."""

LEFT_OUT = re.compile(
    r"""
    __.* | (icu_)?collate_.* | icu_sort_key | st_.* | pg_.* | has_.*_privilege | inet_.*
  | json_(de)?serialize_.* | json_copy_.* | .*_description | format_pg_type | map_to_pg_oid
  | (current|session)_(role|user|setting|connection_id|query_id|transaction_id|user) | user
  | (next|curr|set)val | setseed | sleep_ms | write_log | getvariable | in_search_path
  | txid_current | get_block_size | parse_duckdb_log_message
  | variant_(bytes_to_variant|comparator|group_(array|object)|normalize|to_parquet_variant)
  | (to_aggregate_state|finalize|combine|combine_aggr|aggregate|apply|invoke|stats|vector_type)
  | can_cast_implicitly | cast_to_type | replace_type | make_type | get_type | remap_struct
  | create_sort_key | index_key | constant_or_null | hive_partition_component | vertex_extract
  | (bitstring|timetz)_byte_comparable | is_histogram_other_bin | decimal_average | sum_no_overflow
    """,
    re.VERBOSE,
)
LEFT_OUT_TABLE_FUNCTIONS = _words(
    """
    add_parquet_key arrow_scan arrow_scan_dumb checkpoint collations copy_database
    create_external_resource database_list database_size deregister_external_resource
    destroy_external_resource disable_checkpoint_on_shutdown disable_logging
    disable_object_cache disable_optimizer disable_print_progress_bar disable_profile
    disable_profiling disable_progress_bar disable_verification disable_verify_parallelism
    duckdb_approx_database_count duckdb_available_metrics duckdb_connection_count
    duckdb_constraints duckdb_coordinate_systems duckdb_databases duckdb_dependencies
    duckdb_dialects duckdb_eviction_queues duckdb_extension_repositories duckdb_extensions
    duckdb_external_file_cache duckdb_external_resource_types duckdb_external_resources
    duckdb_grammar_extensions duckdb_indexes duckdb_log_contexts duckdb_logs
    duckdb_logs_parsed duckdb_memory duckdb_optimizers duckdb_prepared_statements
    duckdb_profiling_settings duckdb_schemas duckdb_secret_type_parameters duckdb_secret_types
    duckdb_secrets duckdb_sequences duckdb_settings duckdb_table_sample duckdb_temporary_files
    duckdb_triggers duckdb_variables enable_checkpoint_on_shutdown enable_logging
    enable_object_cache enable_optimizer enable_print_progress_bar enable_profile
    enable_profiling enable_progress_bar enable_verification extension_versions
    force_checkpoint functions histogram histogram_values icu_calendar_names import_database
    json_execute_serialized_sql metadata_info pandas_scan parquet_bloom_probe
    parquet_full_metadata parquet_kv_metadata platform pragma_collations pragma_database_size
    pragma_metadata_info pragma_platform pragma_show pragma_storage_info pragma_user_agent
    python_arrow_scan python_map_function query query_table read_blob read_csv read_csv_auto
    read_duckdb read_json read_json_auto read_json_objects read_json_objects_auto read_ndjson
    read_ndjson_auto read_ndjson_objects read_single_csv_file read_single_json_file
    read_single_parquet_file read_text register_external_resource
    register_external_resource_type repeat_row seq_scan show show_databases show_tables
    show_tables_expanded sniff_csv storage_info summary table_info test_all_types
    test_vector_types truncate_duckdb_logs user_agent verify_parallelism version which_secret
    """
)


def _names(*kinds: str) -> set[str]:
    with duckdb.connect() as con:
        found = con.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions()"
            " WHERE function_type IN (SELECT unnest(?))",
            [list(kinds)],
        ).fetchall()
    return {name for (name,) in found}


def test_every_function_was_looked_at() -> None:
    known = allowed.FUNCTIONS | allowed.OPERATORS
    new = {
        name
        for name in _names("scalar", "aggregate", "macro", "window")
        if name.lower() not in known and not LEFT_OUT.fullmatch(name)
    }
    assert new == {"IS DISTINCT FROM", "IS NOT DISTINCT FROM"}  # comparisons in the tree


def test_no_function_is_both_listed_and_left_out() -> None:
    assert not [name for name in allowed.FUNCTIONS if LEFT_OUT.fullmatch(name)]


def test_every_table_function_was_looked_at() -> None:
    names = _names("table", "table_macro", "pragma")
    assert names - allowed.TABLE_FUNCTIONS == LEFT_OUT_TABLE_FUNCTIONS


def test_every_node_was_looked_at() -> None:
    binary = Path(str(_duckdb.__file__)).read_bytes()
    found = {
        name.decode()
        for name in re.findall(
            rb"\x00((?:[A-Z]+_)*NODE|(?:COMPARE|CONJUNCTION|OPERATOR|VALUE|WINDOW)(?:_[A-Z]+)+)(?=\x00)",
            binary,
        )
    }
    assert {"SELECT_NODE", "COPY_QUERY_NODE", "COMPARE_EQUAL"} <= found
    other = {name for name in found if name.startswith("SLURM") or name == "NODE"}
    assert found - allowed.NODES - other <= LEFT_OUT_NODES


def test_every_view_of_duckdb_was_looked_at() -> None:
    left_out = {"duckdb_databases", "duckdb_logs", "pg_prepared_statements", "pg_settings",
                "pragma_database_list"}  # fmt: skip
    with duckdb.connect() as con:
        rows = con.execute(
            "SELECT schema_name, view_name FROM duckdb_views() WHERE internal"
        ).fetchall()
    assert {name for _, name in rows} == allowed.VIEWS | left_out
    # What needs no schema is known by its name.
    assert all(_OWN_NAMES.match(name) for schema, name in rows if schema != "information_schema")
