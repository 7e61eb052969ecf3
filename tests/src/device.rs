//! The device that golden tests run on: the CPU, or with the feature `cuda` GPU 0.

#[cfg(not(feature = "cuda"))]
pub use kat_backbone::Cpu as TestDevice;
#[cfg(feature = "cuda")]
pub use kat_backbone::Cuda as TestDevice;

/// The device.
#[cfg(not(feature = "cuda"))]
pub fn device() -> TestDevice {
    TestDevice::default()
}

/// The device; panics, being for tests, where there is no GPU.
#[cfg(feature = "cuda")]
pub fn device() -> TestDevice {
    thread_local! {
        // one for all tensors of a test: each opening loads the kernels again
        static DEVICE: TestDevice =
            TestDevice::open(0, kat_backbone::Precision::F32).unwrap_or_else(|error| panic!("no GPU: {error}"));
    }
    DEVICE.with(Clone::clone)
}
