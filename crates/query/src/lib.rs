//! Series, ranges, rates and down-sampling over a Reader; no SQL, no HTTP.
