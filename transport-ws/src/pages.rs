use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Files that a [`WsListener`](crate::WsListener) serves over HTTP. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Pages(Arc<BTreeMap<String, Page>>);

#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) content_type: &'static str,
    pub(crate) body: Cow<'static, [u8]>,
}

impl Pages {
    /// Serves each file: its path (`/`, `/app.js`), content type and bytes.
    #[must_use]
    pub fn new<P, B>(files: impl IntoIterator<Item = (P, &'static str, B)>) -> Self
    where
        P: Into<String>,
        B: Into<Cow<'static, [u8]>>,
    {
        let pages = files.into_iter().map(|(path, content_type, body)| {
            let body = body.into();
            (path.into(), Page { content_type, body })
        });
        Self(Arc::new(pages.collect()))
    }

    pub(crate) fn get(&self, path: &str) -> Option<&Page> {
        self.0.get(path)
    }
}
