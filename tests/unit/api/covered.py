"""Which test shows a method of the platform doing its work, and which shows it refusing.

A plain table: `test_coverage.py` compares it with the descriptors, so that a method without both
cannot be added, and with the tests themselves, so that it cannot name one that is not there. Who
adds or renames a test that stands here changes the line. `WALK` stands for the tests of
`test_error_table.py` that are made for every method with an id, and `UNDECODABLE` for the one wrong
request that a method without any field of its own can be sent.
"""

from __future__ import annotations

from collections.abc import Mapping

WALK = "test_error_table.py::test_wrong_ids"
UNDECODABLE = "test_error_table.py::test_requests_that_are_no_protobuf"

_JOBS = "test_jobs_api.py::"
_PAYLOADS = "test_payloads_api.py::"
_PIPELINES = "test_pipelines_api.py::"
_CHANGES = "test_changes_api.py::"
_MODELS = "test_models.py::"
_ERRORS = "test_error_table.py::"

_METADATA = f"{_CHANGES}test_metadata_without_a_header_answer_the_complete_set"
_MODEL_METADATA = f"{_MODELS}test_metadata_are_added_and_removed_and_always_answered_whole"
_CATALOG = f"{_MODELS}test_a_catalog_is_made_filled_listed_emptied_and_deleted"
_INSTANCE = f"{_MODELS}test_an_instance_is_made_filled_listed_emptied_and_deleted"
_MODEL = f"{_MODELS}test_an_upload_answers_the_stored_details_and_comes_back_whole"

#: Method -> (its work, its error).
TESTS: Mapping[str, tuple[str, str]] = {
    "Clara/Stop": (
        "test_clara.py::test_stop_ends_the_services_and_the_daemon_continues",
        "test_clara.py::test_a_stop_that_fails_is_reported",
    ),
    "Clara/Utilization": (
        "test_clara.py::test_one_answer_has_every_figure_and_ends_the_stream",
        "test_clara.py::test_a_driver_that_hangs_is_an_error_and_a_caller_that_leaves_harms_nobody",
    ),
    "Clara/Version": (f"{_JOBS}test_the_version_is_that_of_the_platform", UNDECODABLE),
    "Jobs/AddMetadata": (_METADATA, WALK),
    "Jobs/Cancel": (f"{_JOBS}test_cancel_of_a_running_job_answers_its_end", WALK),
    "Jobs/Create": (f"{_JOBS}test_the_life_of_a_job", f"{_JOBS}test_a_job_that_cannot_be_made"),
    "Jobs/List": (
        f"{_JOBS}test_lists_show_open_jobs_or_what_the_filter_says",
        f"{_ERRORS}test_a_state_that_fails",
    ),
    "Jobs/ReadLogs": (
        f"{_JOBS}test_logs_come_as_lines_without_time_stamps",
        f"{_JOBS}test_logs_of_nobody",
    ),
    "Jobs/RemoveMetadata": (_METADATA, WALK),
    "Jobs/Start": (f"{_JOBS}test_the_life_of_a_job", f"{_ERRORS}test_calls_in_the_wrong_order"),
    "Jobs/Status": (f"{_JOBS}test_the_life_of_a_job", WALK),
    "Models/AddMetadata": (_MODEL_METADATA, WALK),
    "Models/CreateCatalog": (_CATALOG, UNDECODABLE),
    "Models/CreateInstance": (_INSTANCE, UNDECODABLE),
    "Models/DeleteCatalog": (_CATALOG, WALK),
    "Models/DeleteInstance": (_INSTANCE, WALK),
    "Models/DeleteModel": (f"{_MODELS}test_a_deleted_model_leaves_every_set_and_the_disk", WALK),
    "Models/DownloadModel": (_MODEL, WALK),
    "Models/ListCatalogs": (_CATALOG, UNDECODABLE),
    "Models/ListInstances": (_INSTANCE, UNDECODABLE),
    "Models/ListModels": (
        f"{_MODELS}test_models_are_listed_in_the_order_of_their_first_upload",
        UNDECODABLE,
    ),
    "Models/ReadCatalog": (_CATALOG, WALK),
    "Models/ReadInstance": (_INSTANCE, WALK),
    "Models/RemoveMetadata": (_MODEL_METADATA, WALK),
    "Models/UpdateCatalog": (_CATALOG, WALK),
    "Models/UpdateInstance": (_INSTANCE, WALK),
    "Models/UploadModel": (
        _MODEL,
        f"{_MODELS}test_a_wrong_archive_is_refused_and_nothing_is_left",
    ),
    "Monitor/GpuMetrics": ("test_monitor.py::test_every_figure_comes_as_it_is", UNDECODABLE),
    "Payloads/AddMetadata": (_METADATA, f"{_ERRORS}test_metadata_of_a_jobs_payload"),
    "Payloads/Create": (
        f"{_CHANGES}test_a_reusable_payload_loses_a_file_then_itself_while_its_copies_stay",
        f"{_ERRORS}test_metadata_beyond_the_limits",
    ),
    "Payloads/Delete": (
        f"{_CHANGES}test_a_reusable_payload_loses_a_file_then_itself_while_its_copies_stay",
        f"{_ERRORS}test_calls_in_the_wrong_order",
    ),
    "Payloads/Details": (f"{_PAYLOADS}test_details_are_one_message_a_file_by_name_bytes", WALK),
    "Payloads/Download": (
        f"{_PAYLOADS}test_a_file_comes_back_as_it_was_sent",
        f"{_ERRORS}test_names_of_files_that_are_not_there_or_not_clear",
    ),
    "Payloads/Remove": (
        f"{_CHANGES}test_a_reusable_payload_loses_a_file_then_itself_while_its_copies_stay",
        f"{_ERRORS}test_names_of_files_that_are_not_there_or_not_clear",
    ),
    "Payloads/RemoveMetadata": (_METADATA, f"{_ERRORS}test_metadata_of_a_jobs_payload"),
    "Payloads/Upload": (
        f"{_PAYLOADS}test_a_file_comes_back_as_it_was_sent",
        f"{_ERRORS}test_names_that_no_file_can_have",
    ),
    "Pipelines/AddMetadata": (_METADATA, WALK),
    "Pipelines/Create": (
        f"{_PIPELINES}test_what_was_created_is_returned_in_full",
        f"{_PIPELINES}test_a_wrong_definition_has_its_code_and_says_where",
    ),
    "Pipelines/Details": (f"{_PIPELINES}test_what_was_created_is_returned_in_full", WALK),
    "Pipelines/List": (
        f"{_PIPELINES}test_pipelines_are_listed_by_creation",
        f"{_ERRORS}test_a_state_that_fails",
    ),
    "Pipelines/Remove": (
        f"{_CHANGES}test_a_removed_pipeline_is_gone_for_new_jobs_and_not_for_old_ones",
        f"{_ERRORS}test_calls_in_the_wrong_order",
    ),
    "Pipelines/RemoveMetadata": (_METADATA, WALK),
    "Pipelines/Update": (
        f"{_CHANGES}test_an_update_replaces_the_definition_and_no_job_that_is_there",
        f"{_CHANGES}test_an_update_that_is_wrong_changes_nothing",
    ),
}
