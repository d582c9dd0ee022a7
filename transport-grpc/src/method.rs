/// A bidirectional streaming method.
pub trait Method: Clone + Send + Sync + 'static {
    /// The full name of the service.
    const SERVICE: &'static str;
    /// The name of the method.
    const METHOD: &'static str;
    /// The encoded `FileDescriptorSet` of the service, for reflection.
    const DESCRIPTORS: &'static [u8];

    /// The path of its calls: `/SERVICE/METHOD`.
    #[must_use]
    fn path() -> String {
        format!("/{}/{}", Self::SERVICE, Self::METHOD)
    }
}
