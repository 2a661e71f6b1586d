//! What a registry is shown to let one in.

use base::secret::Secret;

/// Credentials for one registry. Printing them shows no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    /// None.
    #[default]
    Anonymous,
    /// A name and a password.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token from an earlier login, exchanged for access tokens by OAuth2.
    IdentityToken {
        /// The name that it was given to, if it is known.
        username: String,
        /// The token.
        token: Secret,
    },
    /// An access token that is sent as it is.
    RegistryToken(Secret),
}
