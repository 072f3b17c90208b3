//! The harness of the tests from outside.
