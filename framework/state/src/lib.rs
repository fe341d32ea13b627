//! State backends, snapshot format and checkpoint storage.
