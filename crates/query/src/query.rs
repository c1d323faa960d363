//! The one door: questions over a [`Reader`].

use crate::QueryError;
use std::sync::Arc;
use tidegauge_store::{
    FieldInfo, HostId, HostInfo, MeasurementInfo, Reader, SeriesFilter, SeriesInfo, StoreSummary,
};

/// Answers questions; clones share the reader.
#[derive(Clone)]
pub struct Query {
    pub(crate) reader: Arc<dyn Reader>,
}

impl std::fmt::Debug for Query {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Query").finish_non_exhaustive()
    }
}

impl Query {
    /// Questions over this database.
    #[must_use]
    pub fn new(reader: Arc<dyn Reader>) -> Self {
        Self { reader }
    }

    /// The store in a few numbers.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub async fn summary(&self) -> Result<StoreSummary, QueryError> {
        let answer = self.reader.summary().await;
        answer.map_err(QueryError::reading("the summary"))
    }

    /// All hosts by name.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub async fn hosts(&self) -> Result<Vec<HostInfo>, QueryError> {
        let answer = self.reader.hosts().await;
        answer.map_err(QueryError::reading("the hosts"))
    }

    /// The host of this identity, else the first of this name.
    ///
    /// # Errors
    /// [`QueryError::UnknownHost`], [`QueryError::Store`].
    pub async fn host(&self, identity_or_name: &str) -> Result<HostInfo, QueryError> {
        let mut hosts = self.hosts().await?;
        let found = hosts
            .iter()
            .position(|host| host.identity == identity_or_name)
            .or_else(|| hosts.iter().position(|host| host.name == identity_or_name));
        match found {
            Some(index) => Ok(hosts.swap_remove(index)),
            None => Err(QueryError::UnknownHost {
                host: identity_or_name.to_owned(),
            }),
        }
    }

    /// All measurements by name.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub async fn measurements(&self) -> Result<Vec<MeasurementInfo>, QueryError> {
        let answer = self.reader.measurements().await;
        answer.map_err(QueryError::reading("the measurements"))
    }

    /// The measurement of this name.
    ///
    /// # Errors
    /// [`QueryError::UnknownMeasurement`], [`QueryError::Store`].
    pub async fn measurement(&self, name: &str) -> Result<MeasurementInfo, QueryError> {
        let measurements = self.measurements().await?;
        measurements
            .into_iter()
            .find(|measurement| measurement.name == name)
            .ok_or_else(|| QueryError::UnknownMeasurement {
                measurement: name.to_owned(),
            })
    }

    /// Series of a host or of all, of a measurement or of all, with these tags.
    ///
    /// # Errors
    /// [`QueryError::Store`].
    pub async fn series(
        &self,
        host: Option<HostId>,
        measurement: Option<&str>,
        tags: &[(String, String)],
    ) -> Result<Vec<SeriesInfo>, QueryError> {
        let filter = SeriesFilter {
            measurement: measurement.map(str::to_owned),
            host,
            tags: tags.to_vec(),
        };
        let answer = self.reader.series(&filter).await;
        answer.map_err(QueryError::reading("the series"))
    }
}

/// The field of a measurement.
pub(crate) fn field<'a>(
    measurement: &'a MeasurementInfo,
    name: &str,
) -> Result<&'a FieldInfo, QueryError> {
    let found = measurement.fields.iter().find(|field| field.name == name);
    found.ok_or_else(|| QueryError::UnknownField {
        measurement: measurement.name.clone(),
        field: name.to_owned(),
    })
}
