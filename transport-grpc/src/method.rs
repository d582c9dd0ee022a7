/// A method whose requests and replies are both streams.
pub trait Method: Clone + Send + Sync + 'static {
    /// The service's full name.
    const SERVICE: &'static str;
    /// The method's name.
    const METHOD: &'static str;
    /// The service's `FileDescriptorSet`, encoded, for those who ask the server what it offers.
    const DESCRIPTORS: &'static [u8];

    /// The path of its calls.
    #[must_use]
    fn path() -> String {
        format!("/{}/{}", Self::SERVICE, Self::METHOD)
    }
}
