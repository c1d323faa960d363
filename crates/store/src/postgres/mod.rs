//! The postgres store.

use crate::{ErrorClass, OpenOptions, Reader, Store, StoreError, StoreUrl};
use std::sync::Arc;

/// Opens it for writing.
///
/// # Errors
/// [`ErrorClass::Usage`] for a URL that is wrong.
pub fn open_store(url: &StoreUrl, options: &OpenOptions) -> Result<Box<dyn Store>, StoreError> {
    let _ = (url, options);
    Err(StoreError::new("opening", ErrorClass::Usage))
}

/// Opens it for reading.
///
/// # Errors
/// [`ErrorClass::Usage`] for a URL that is wrong.
pub fn open_reader(url: &StoreUrl, options: &OpenOptions) -> Result<Arc<dyn Reader>, StoreError> {
    let _ = (url, options);
    Err(StoreError::new("opening", ErrorClass::Usage))
}
