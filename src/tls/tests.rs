//! Both ends in one process, with certificates made for the test.
