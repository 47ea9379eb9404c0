package pulsar

import (
	"github.com/apache/pulsar-client-go/pulsar"
	"github.com/apache/pulsar-client-go/pulsar/auth"
)

// Token authenticates with a JSON web token.
func Token(token string) pulsar.Authentication { return pulsar.NewAuthenticationToken(token) }

// TokenFrom authenticates with the token that f returns; it is called for each connection and when a broker asks for a
// new one.
func TokenFrom(f func() (string, error)) pulsar.Authentication {
	return pulsar.NewAuthenticationTokenFromSupplier(f)
}

// OAuth2 authenticates with the client credentials flow. The parameters are those of all clients of Pulsar: type
// (client_credentials), issuerUrl, audience, privateKey (the URL of a file), clientId, scope. New returns what is
// wrong with them.
func OAuth2(params map[string]string) pulsar.Authentication {
	a, err := auth.NewAuthenticationOAuth2WithParams(params)
	if err != nil {
		return &unusable{err}
	}
	return a
}

// unusable is an authentication that cannot be made.
type unusable struct{ err error }
