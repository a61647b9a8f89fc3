//! Holds no code: the targets of this package are beside it.
