//! Percentiles of a field's values in a range, exact, from rows.
//!
//! Not from buckets: percentiles of summed-up values would be guesses. The number of rows is
//! bounded instead, and the answer says when the bound cut it.

use crate::query::field;
use crate::range::number;
use crate::rate::rates;
use crate::step::usual_step_us;
use crate::{Frame, Query, QueryError};
use serde::Serialize;
use std::ops::Range;
use tidegauge_model::{Kind, ValueType};
use tidegauge_store::{HostId, RowsRequest};

/// Which percentiles of which values.
#[derive(Debug, Clone, PartialEq)]
pub struct PercentilesRequest {
    /// The measurement.
    pub measurement: String,
    /// Only of this host.
    pub host: Option<HostId>,
    /// Only series with these tags.
    pub tags: Vec<(String, String)>,
    /// The field; of a counter the rates are taken.
    pub field: String,
    /// From (inclusive) to (exclusive), microseconds since 1970 UTC.
    pub range_us: Range<i64>,
    /// What is asked for, each from 0 (the least) to 1 (the greatest).
    pub quantiles: Vec<f64>,
    /// At most so many rows per series, the newest ones.
    pub max_rows: u32,
}

/// Percentiles of one series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeriesPercentiles {
    /// Its tags, sorted by name.
    pub tags: Vec<(String, String)>,
    /// Values that were there.
    pub count: usize,
    /// False when the range has more rows than were read.
    pub complete: bool,
    /// One value per quantile, between the two nearest values where it falls between.
    pub values: Vec<f64>,
}

impl Query {
    /// Percentiles of each series that has a value in the range.
    ///
    /// # Errors
    /// [`QueryError`]: something that is not there, a quantile outside of 0 to 1, or the database.
    pub async fn percentiles(
        &self,
        request: &PercentilesRequest,
    ) -> Result<Vec<SeriesPercentiles>, QueryError> {
        if let Some(&quantile) = request.quantiles.iter().find(|q| !(0.0..=1.0).contains(*q)) {
            return Err(QueryError::Quantile { quantile });
        }
        let measurement = self.measurement(&request.measurement).await?;
        let field = field(&measurement, &request.field)?;
        if field.value_type == ValueType::Text {
            return Err(QueryError::TextField {
                measurement: measurement.name.clone(),
                field: field.name.clone(),
            });
        }
        let series = self
            .series(request.host, Some(&measurement.name), &request.tags)
            .await?;
        let rows_request = RowsRequest {
            measurement: measurement.name.clone(),
            series: series.iter().map(|series| series.id).collect(),
            fields: vec![field.name.clone()],
            range_us: request.range_us.clone(),
            limit_per_series: request.max_rows.saturating_add(1),
        };
        let answer = self.reader.rows(&rows_request).await;
        let rows = answer.map_err(QueryError::reading(format!("rows of {}", measurement.name)))?;

        let mut found = Vec::new();
        for rows in rows {
            let Some(series) = series.iter().find(|series| series.id == rows.series) else {
                continue;
            };
            let cut = rows
                .times_us
                .len()
                .saturating_sub(request.max_rows as usize);
            let times_us = &rows.times_us[cut..];
            let column = rows
                .columns
                .first()
                .map_or(&[][..], |column| &column[cut..]);
            let mut values: Vec<Option<f64>> =
                column.iter().map(|value| number(value.as_ref())).collect();
            if field.kind == Kind::Counter {
                let step_us = usual_step_us(times_us).unwrap_or(0);
                let longest_us = (step_us as f64 * Frame::GAP_STEPS) as i64;
                values = rates(times_us, &values, longest_us);
            }
            let mut values: Vec<f64> = values.into_iter().flatten().collect();
            if values.is_empty() {
                continue;
            }
            values.sort_unstable_by(f64::total_cmp);
            let quantiles = request.quantiles.iter();
            found.push(SeriesPercentiles {
                tags: series.tags.clone(),
                count: values.len(),
                complete: cut == 0,
                values: quantiles
                    .map(|&quantile| percentile(&values, quantile))
                    .collect(),
            });
        }
        found.sort_by(|one, other| one.tags.cmp(&other.tags));
        Ok(found)
    }
}

/// The quantile of sorted values, with linear interpolation between neighbours.
fn percentile(sorted: &[f64], quantile: f64) -> f64 {
    let place = quantile * (sorted.len() - 1) as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn a_percentile_lies_between_its_neighbours() {
        let values = [1.0, 2.0, 3.0, 4.0, 10.0];
        assert_eq!(percentile(&values, 0.0), 1.0);
        assert_eq!(percentile(&values, 0.5), 3.0);
        assert_eq!(percentile(&values, 1.0), 10.0);
        assert_eq!(percentile(&values, 0.875), 7.0);
        assert_eq!(percentile(&[5.0], 0.99), 5.0);
    }
}
