//! What every database behind `Store` and `Reader` does alike (S7): cases over a [`Subject`].
//!
//! A database implements [`Subject`] and says `conformance!(ItsSubject);` once. That instantiates
//! every case; none can be left out, and a case that is written but not listed below is dead code,
//! which the lints refuse.

pub(crate) mod account;
pub(crate) mod ahead;
pub(crate) mod building;
pub(crate) mod checks;
pub(crate) mod dead_letters;
pub(crate) mod faults;
pub(crate) mod gaps;
pub(crate) mod hosts;
pub(crate) mod ledger;
pub(crate) mod properties;
pub(crate) mod reads;
pub(crate) mod refusals;
pub(crate) mod retention;
pub(crate) mod schema;
pub(crate) mod steps;
pub(crate) mod unmanaged;
pub(crate) mod values;

use std::sync::Arc;
use tidegauge_store::{
    Applied, OpenOptions, Reader, Step, Store, StoreError, StoreUrl, open_reader, open_store,
};

/// One scratch database under test, removed when it is dropped.
#[async_trait::async_trait]
pub(crate) trait Subject: Send + Sync + Sized {
    /// An empty database of its own; `None` when there is no server, after the skip was recorded.
    async fn start(test: &str) -> Option<Self>;

    /// Where it is.
    fn url(&self) -> StoreUrl;

    /// Runs SQL beside the store, on a connection of its own.
    async fn execute(&self, sql: &str);

    /// The rows of a query on such a connection, each value as text.
    async fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>>;

    /// SQL that makes the database refuse rows of `measurement` with this number in `field`.
    fn poison_sql(&self, measurement: &str, field: &str, number: f64) -> String;

    /// SQL that makes the schema look one version newer than this program's.
    fn newer_schema_sql(&self) -> String;

    /// SQL that makes the schema look as if other texts than this program's had made it.
    fn other_schema_sql(&self) -> String;

    /// SQL that takes the schema back to its first version, which was the first that was written.
    fn first_schema_sql(&self) -> Vec<String>;

    /// Applies `step` with a store of its own, whose connection is lost before COMMIT.
    async fn apply_cut_before_commit(&self, step: &Step) -> Result<Applied, StoreError>;

    /// Applies `step` with a store of its own, whose answer to COMMIT is lost.
    async fn apply_cut_after_commit(&self, step: &Step);

    /// SQL by which an administrator makes the partitions of the days around the cases' points, where
    /// the database has partitions.
    fn partitions_sql(&self) -> Option<String> {
        None
    }

    /// An identifier, quoted as the database has it.
    fn quoted(&self, name: &str) -> String {
        format!("\"{name}\"")
    }

    /// A new writer; it connects when it is first used.
    fn store(&self) -> Box<dyn Store> {
        open_store(&self.url(), &OpenOptions::default()).expect("the URL is right")
    }

    /// A new reader; it connects when it is first used.
    fn reader(&self) -> Arc<dyn Reader> {
        open_reader(&self.url(), &OpenOptions::default()).expect("the URL is right")
    }
}

/// Instantiates every case for one implementation of [`Subject`].
macro_rules! conformance {
    ($subject:ty) => {
        conformance! { $subject, steps: [
            a_step_is_applied_whole,
            a_repeated_step_is_known_already,
            a_step_behind_or_ahead_is_fenced,
            a_step_of_several_partitions_is_all_or_nothing,
            offsets_have_holes,
            positions_begin_where_they_are_told_and_stay,
            sources_do_not_share_positions,
            the_second_of_two_writers_is_fenced,
            a_step_without_rows_moves_the_position,
            dead_letters_are_stored_and_listed,
        ] }
        conformance! { $subject, ahead: [
            a_chain_is_written_once_in_order,
            what_is_never_applied_was_never_written,
            a_step_that_is_packed_anew_replaces_the_one_told,
            what_is_written_ahead_is_fenced_all_the_same,
        ] }
        conformance! { $subject, ledger: [
            rows_come_back_as_they_were_written,
            a_version_that_moved_refuses_the_whole_step,
            all_rows_are_listed_newest_epoch_first,
        ] }
        conformance! { $subject, account: [
            a_store_that_lost_nothing_says_so,
            every_loss_is_told_with_its_reason,
            freshness_is_told_per_host,
            hosts_without_an_agent_are_fresh_too,
            progress_is_told_per_partition,
        ] }
        conformance! { $subject, checks: [
            without_checks_the_views_are_empty,
            uptime_and_outages_are_those_worked_out_by_hand,
            certificates_that_end_soonest_come_first,
            checks_that_come_later_are_taken_in,
        ] }
        conformance! { $subject, faults: [
            a_connection_lost_before_commit_writes_nothing,
            an_answer_lost_after_commit_is_known_already,
            a_step_that_is_abandoned_is_written_once_by_the_next_writer,
            a_poison_row_is_refused_as_data_and_takes_its_step_back,
        ] }
        conformance! { $subject, gaps: [
            a_gap_is_noted_with_the_move_past_it,
            a_log_that_was_cut_moves_its_position_back,
            a_gap_that_is_noted_again_is_one_row,
        ] }
        conformance! { $subject, refusals: [
            rows_that_are_tried_are_not_written,
            a_refused_row_is_told_from_its_neighbours,
        ] }
        conformance! { $subject, dead_letters: [
            they_are_found_by_number_time_and_page,
            further_ones_of_a_message_are_counted,
            deleting_one_leaves_the_message_with_the_others,
            replaying_stores_and_takes_the_letter_out_once,
            a_letter_replayed_by_two_at_once_is_stored_once,
            old_ones_go_and_are_counted,
            too_many_bytes_push_the_oldest_out,
            many_go_in_several_transactions,
        ] }
        conformance! { $subject, schema: [
            migrating_twice_is_harmless,
            two_programs_may_migrate_at_once,
            a_newer_schema_is_refused,
            a_migration_with_another_text_is_refused,
            a_store_of_version_one_is_brought_up_to_date,
            a_measurement_of_a_name_that_is_kept_now_stops_the_migration,
            a_new_field_appears_between_steps,
            two_writers_may_ensure_the_same_at_once,
            the_schema_changes_under_load,
            ensuring_again_answers_the_same,
            the_first_type_of_a_field_stays,
            the_kind_is_what_the_first_sender_said,
            reserved_names_are_refused,
            limits_are_kept,
            what_is_stored_survives_reopening,
        ] }
        conformance! { $subject, unmanaged: [
            the_printed_schema_is_the_one_that_is_needed,
            what_is_not_in_it_is_refused_with_that_reason,
            tables_that_are_not_there_are_waited_for,
        ] }
        conformance! { $subject, hosts: [
            two_agents_of_one_name_stay_apart,
            a_renamed_agent_keeps_its_number,
            labels_are_brought_up_to_date,
        ] }
        conformance! { $subject, values: [
            numbers_come_back_exactly,
            texts_come_back_exactly,
            truth_values_and_absent_fields_come_back,
            keyed_points_make_one_row,
            blocks_of_two_widths_go_together,
        ] }
        conformance! { $subject, reads: [
            an_empty_store_answers,
            measurements_tell_what_the_catalog_knows,
            series_are_found_by_measurement_host_and_tags,
            the_newest_rows_of_a_range_are_read,
            buckets_sum_up_a_range,
            unknown_names_are_the_callers_fault,
            the_summary_counts,
            the_condition_tells_version_clock_and_schema,
        ] }
        conformance! { $subject, retention: [
            old_rows_go_and_young_ones_stay,
            a_measurements_own_limit_comes_first,
            many_old_rows_go_at_once,
            settling_changes_no_row,
        ] }
        conformance! { $subject, properties: [
            any_sequence_of_steps_equals_a_simple_model,
        ] }
    };
    ($subject:ty, $module:ident: [$($case:ident),* $(,)?]) => {
        mod $module {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    let test = concat!(stringify!($module), "::", stringify!($case));
                    let subject = <$subject as $crate::conformance::Subject>::start(test).await;
                    let Some(subject) = subject else { return };
                    $crate::conformance::$module::$case(&subject).await;
                }
            )*
        }
    };
}
pub(crate) use conformance;
