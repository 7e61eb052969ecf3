//! `bench`: speed of a detector by stage.
