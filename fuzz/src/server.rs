use std::convert::Infallible;

use echosphere_core::echo::{self, EchoCodec};
use echosphere_core::endpoint::Endpoint;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::plan::Settings;
use crate::world::{MAX_MESSAGE, Subject};

pub(crate) type Server = echo::Server<ChaCha8Rng>;

impl Subject for Server {
    fn endpoint(settings: &Settings) -> Endpoint<Self, EchoCodec> {
        let rng = ChaCha8Rng::seed_from_u64(settings.seed.into());
        let server = Self::new(settings.server(), rng);
        Endpoint::new(server, EchoCodec::accepted(MAX_MESSAGE), settings.link())
    }

    fn command(_: u64, _: u16) -> Option<Infallible> {
        None
    }

    fn ended(notice: &Infallible) -> Option<u64> {
        match *notice {}
    }

    fn check(&self) {
        self.audit().expect("the audit passes");
    }
}
