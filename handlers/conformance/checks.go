package conformance

import (
	"context"
	"strings"
)

// tryFunc looks at one rule. nil is a pass, a [skip] is a skip, a [note] is a
// pass with something to tell, and everything else is a failure.
type tryFunc func(ctx context.Context, r *run) error

// check is a check with what it does.
type check struct {
	Check
	try tryFunc
	// needs are checks that come before; if one ran and did not pass, this one
	// has nothing to judge.
	needs []string
}

// is reports whether name is the check's, or its group's.
func (c check) is(name string) bool {
	group, _, _ := strings.Cut(c.Name, "/")
	return c.Name == name || group == name
}

// Checks lists all checks, in the order in which they run.
func Checks() []Check {
	list := make([]Check, len(checks))
	for i, c := range checks {
		list[i] = c.Check
	}
	return list
}

// What the groups build on.
var (
	needsMetadata = []string{"metadata/document"}
	needsIssuer   = []string{"metadata/document", "metadata/issuer"}
	needsKeys     = append([]string{"jwks/document"}, needsIssuer...)
	needsCode     = append([]string{"code/flow"}, needsIssuer...)
	needsIDToken  = append([]string{"id-token/signature"}, needsCode...)
	needsRefresh  = append([]string{"refresh/flow"}, needsCode...)
	needsReplay   = append([]string{"refresh/replay"}, needsRefresh...)
	needsMachine  = append([]string{"client-credentials/token"}, needsIssuer...)
	needsRegister = append([]string{"register/echo"}, needsIssuer...)
)

// checks is every check, readable at a glance. It is filled by init because the
// checks look themselves up in it by name.
var checks []check

func init() {
	add := func(name, spec string, level Level, title string, needs []string, try tryFunc) {
		checks = append(checks, check{Check: Check{Name: name, Title: title, Spec: spec, Level: level}, try: try, needs: needs})
	}

	add("metadata/document", "RFC 8414 §3", Must, "there is a metadata document", nil, metadataDocument)
	add("metadata/issuer", "RFC 8414 §3.3", Must, "the issuer in the metadata is exactly the one asked for", needsMetadata, metadataIssuer)
	add("metadata/members", "RFC 8414 §2, OpenID Connect Discovery §3", Must, "the metadata have what is required, in the right types", needsMetadata, metadataMembers)
	add("metadata/endpoints", "RFC 8414 §2", Must, "endpoints are absolute https URLs", needsMetadata, metadataEndpoints)
	add("metadata/agree", "RFC 8414 §5", Should, "both metadata documents say the same", needsMetadata, metadataAgree)
	add("metadata/pkce", "RFC 9700 §2.1.1", Must, "PKCE with S256 is offered", needsMetadata, metadataPKCE)
	add("metadata/plain", "RFC 9700 §2.1.1", Should, "PKCE without hashing is not offered", needsMetadata, metadataPlain)
	add("metadata/algorithms", "RFC 8414 §2, OpenID Connect Discovery §3", Must, "signing algorithms are listed, with RS256 and without none", needsMetadata, metadataAlgorithms)
	add("metadata/grants", "RFC 9700 §2.1.2, §2.4", Should, "neither passwords nor tokens in the browser's address are offered", needsMetadata, metadataGrants)

	add("jwks/document", "RFC 7517 §5", Must, "the keys can be read", needsIssuer, jwksDocument)
	add("jwks/private", "OpenID Connect Discovery §3", Must, "no private key is published", needsKeys, jwksPrivate)
	add("jwks/keys", "RFC 7517 §4, RFC 7518 §3.3", Must, "keys are well-formed, distinct and long enough", needsKeys, jwksKeys)

	add("authorize/unknown-client", "RFC 6749 §4.1.2.1", Must, "an unknown client is not redirected", needsIssuer, authorizeUnknownClient)
	add("authorize/unregistered-redirect", "RFC 6749 §4.1.2.1", Must, "an unregistered redirect URI is never redirected to", needsIssuer, authorizeUnregisteredRedirect)
	add("authorize/exact-redirect", "RFC 9700 §4.1.3", Must, "redirect URIs that are merely close are refused", needsIssuer, authorizeExactRedirect)
	add("authorize/fragment-redirect", "RFC 6749 §3.1.2", Must, "a redirect URI with a fragment is refused", needsIssuer, authorizeFragmentRedirect)
	add("authorize/repeated-redirect", "RFC 6749 §3.1", Must, "of two redirect URIs none is used", needsIssuer, authorizeRepeatedRedirect)
	add("authorize/missing-response-type", "RFC 6749 §3.1.1", Must, "a request without response_type is refused", needsIssuer, authorizeMissingResponseType)
	add("authorize/unsupported-response-type", "RFC 6749 §3.1.1", Must, "an unknown response_type is refused", needsIssuer, authorizeUnsupportedResponseType)
	add("authorize/repeated-parameter", "RFC 6749 §3.1", Must, "a repeated parameter is refused", needsIssuer, authorizeRepeatedParameter)
	add("authorize/pkce-plain", "RFC 7636 §4.4.1", Must, "a transformation that is not offered is refused", needsIssuer, authorizePlain)
	add("authorize/pkce-missing", "RFC 7636 §4.4.1", Must, "a client that must use PKCE is refused without", needsIssuer, authorizeMissingPKCE)
	add("authorize/state", "RFC 6749 §4.1.2.1", Must, "state comes back with errors, exactly", needsIssuer, authorizeState)
	add("authorize/iss", "RFC 9207 §2", Must, "errors name the issuer", needsIssuer, authorizeIss)
	add("authorize/prompt-none", "OpenID Connect Core §3.1.2.6", Must, "prompt=none shows no page", needsIssuer, authorizePromptNone)
	add("authorize/framing", "RFC 9700 §4.16", Should, "the sign-in page cannot be framed", needsIssuer, authorizeFraming)
	add("authorize/cors", "RFC 9700 §2.6", Must, "no other origin may read the authorization endpoint", needsIssuer, authorizeCORS)

	add("token/unsupported-grant", "RFC 6749 §5.2", Must, "an unknown grant_type is unsupported_grant_type", needsIssuer, tokenUnsupportedGrant)
	add("token/missing-grant", "RFC 6749 §5.2", Must, "a request without grant_type is refused", needsIssuer, tokenMissingGrant)
	add("token/repeated-parameter", "RFC 6749 §3.2", Must, "a repeated parameter is refused", needsIssuer, tokenRepeatedParameter)
	add("token/wrong-secret", "RFC 6749 §5.2", Must, "a wrong secret is invalid_client, with a challenge where Basic was tried", needsIssuer, tokenWrongSecret)
	add("token/unknown-client", "RFC 6749 §5.2", Must, "an unknown client is invalid_client", needsIssuer, tokenUnknownClient)
	add("token/no-credentials", "RFC 6749 §3.2.1", Must, "a confidential client has to authenticate", needsIssuer, tokenNoCredentials)
	add("token/query-credentials", "RFC 6749 §2.3.1", Must, "credentials in the query are refused", needsIssuer, tokenQueryCredentials)
	add("token/two-methods", "RFC 6749 §2.3", Must, "two authentication methods at once are refused", needsIssuer, tokenTwoMethods)
	add("token/get", "RFC 6749 §3.2", Must, "GET is refused", needsIssuer, tokenGet)
	add("token/unknown-code", "RFC 6749 §5.2", Must, "an unknown code is invalid_grant", needsIssuer, tokenUnknownCode)
	add("token/unknown-refresh-token", "RFC 6749 §5.2", Must, "an unknown refresh token is invalid_grant", needsIssuer, tokenUnknownRefreshToken)

	add("client-credentials/token", "RFC 6749 §4.4, §5.1", Must, "a client gets a token for itself, which no cache keeps", needsIssuer, clientCredentialsToken)
	add("client-credentials/no-refresh", "RFC 6749 §4.4.3", Should, "without a refresh token", needsMachine, clientCredentialsNoRefresh)
	add("client-credentials/scope", "RFC 6749 §3.3", Must, "and never for a scope that nobody registered", needsMachine, clientCredentialsScope)
	add("client-credentials/public", "RFC 6749 §4.4", Must, "a public client gets none", needsIssuer, clientCredentialsPublic)

	add("code/flow", "RFC 6749 §4.1, RFC 7636", Must, "the code flow with PKCE ends with a token", needsIssuer, codeFlow)
	add("code/token-type", "RFC 6749 §5.1", Must, "the token is a bearer token with a lifetime", needsCode, codeTokenType)
	add("code/no-store", "RFC 6749 §5.1", Must, "no cache keeps the token", needsCode, codeNoStore)
	add("code/state", "RFC 6749 §4.1.2", Must, "state comes back with the code, exactly", needsCode, codeState)
	add("code/iss", "RFC 9207 §2", Must, "the issuer comes with the code", needsCode, codeIss)
	add("code/replay", "RFC 6749 §4.1.2", Must, "a code works once", needsCode, codeReplay)
	add("code/race", "RFC 6749 §4.1.2", Must, "and once only when requests come together", needsCode, codeRace)
	add("code/replay-revokes", "RFC 6749 §4.1.2", Should, "a replay ends what the code produced", needsCode, codeReplayRevokes)
	add("code/wrong-verifier", "RFC 7636 §4.6", Must, "a wrong code_verifier is refused", needsCode, codeWrongVerifier)
	add("code/missing-verifier", "RFC 7636 §4.6", Must, "a missing code_verifier is refused", needsCode, codeMissingVerifier)
	add("code/survives-wrong-verifier", "RFC 9700 §4.5", May, "a stranger's try does not burn the code", needsCode, codeSurvivesWrongVerifier)
	add("code/downgrade", "RFC 9700 §2.1.1", Must, "a code_verifier without a code_challenge is refused", needsCode, codeDowngrade)
	add("code/wrong-redirect", "RFC 6749 §4.1.3", Must, "another redirect_uri is refused", needsCode, codeWrongRedirect)
	add("code/missing-redirect", "RFC 6749 §4.1.3", Should, "a redirect_uri that is left out is refused", needsCode, codeMissingRedirect)
	add("code/other-client", "RFC 6749 §4.1.3", Must, "another client cannot use the code", needsCode, codeOtherClient)

	add("id-token/signature", "OpenID Connect Core §3.1.3.7", Must, "the keys verify the id_token", needsCode, idTokenSignature)
	add("id-token/claims", "OpenID Connect Core §2", Must, "iss, aud, sub, exp and iat are right", needsIDToken, idTokenClaims)
	add("id-token/nonce", "OpenID Connect Core §3.1.3.7", Must, "nonce comes back", needsIDToken, idTokenNonce)
	add("id-token/at-hash", "OpenID Connect Core §3.1.3.6", Must, "at_hash is that of the access token", needsIDToken, idTokenAccessHash)
	add("id-token/auth-time", "OpenID Connect Core §2", Must, "max_age brings auth_time", needsIDToken, idTokenAuthTime)
	add("access-token/jwt", "RFC 9068 §2", Must, "a JWT access token is verifiable and complete", needsIssuer, accessTokenJWT)

	add("introspection/auth", "RFC 7662 §2.1", Must, "introspection needs credentials", needsIssuer, introspectionAuth)
	add("introspection/active", "RFC 7662 §2.2", Should, "a client's own token is active", needsIssuer, introspectionActive)
	add("introspection/unknown", "RFC 7662 §2.2", Must, "an unknown token is inactive, and nothing more", needsIssuer, introspectionUnknown)

	add("userinfo/challenge", "RFC 6750 §3", Must, "no token: 401 with a challenge", needsIssuer, userinfoChallenge)
	add("userinfo/invalid-token", "RFC 6750 §3.1", Must, "an unknown token: 401 with invalid_token", needsIssuer, userinfoInvalidToken)
	add("userinfo/subject", "OpenID Connect Core §5.3.2", Must, "sub is that of the id_token", needsIDToken, userinfoSubject)
	add("userinfo/query-token", "RFC 9700 §4.3.2", Should, "a token in the query is refused", needsIDToken, userinfoQueryToken)

	add("refresh/flow", "RFC 6749 §6", Must, "a refresh token gives a new access token", needsCode, refreshFlow)
	add("refresh/rotation", "RFC 9700 §4.14.2", Must, "and changes, at least for public clients", needsRefresh, refreshRotation)
	add("refresh/replay", "RFC 9700 §4.14.2", Must, "a used refresh token is refused", needsRefresh, refreshReplay)
	add("refresh/replay-revokes", "RFC 9700 §4.14.2", Should, "and ends its successor", needsReplay, refreshReplayRevokes)
	add("refresh/other-client", "RFC 6749 §6", Must, "another client cannot use it", needsRefresh, refreshOtherClient)
	add("refresh/narrow", "RFC 6749 §6", Should, "the scope can be narrowed", needsRefresh, refreshNarrow)
	add("refresh/widen", "RFC 6749 §6", Must, "and never widened", needsRefresh, refreshWiden)

	add("revocation/unknown", "RFC 7009 §2.2", Must, "an unknown token is answered with 200", needsIssuer, revocationUnknown)
	add("revocation/auth", "RFC 7009 §2.1", Must, "revocation needs credentials", needsIssuer, revocationAuth)
	add("revocation/access-token", "RFC 7009 §2", Must, "a revoked access token is inactive", append([]string{"introspection/active"}, needsIssuer...), revocationAccess)
	add("revocation/refresh-token", "RFC 7009 §2", Must, "a revoked refresh token is refused", needsRefresh, revocationRefresh)
	add("revocation/cascade", "RFC 7009 §2.1", Should, "and ends its access tokens", needsRefresh, revocationCascade)
	add("revocation/other-client", "RFC 7009 §2.1", Must, "another client cannot revoke it", needsRefresh, revocationOtherClient)

	add("resource/audience", "RFC 8707 §2", Should, "a token is for the resource that was asked for", needsIssuer, resourceAudience)
	add("resource/unknown", "RFC 8707 §2", Should, "an unknown resource is invalid_target", needsIssuer, resourceUnknown)
	add("resource/malformed", "RFC 8707 §2", Must, "a relative resource, or one with a fragment, is invalid_target", needsIssuer, resourceMalformed)
	add("resource/metadata", "RFC 9728 §3.3", Must, "the resource's metadata name it and the issuer", needsIssuer, protectedResourceMetadata)
	add("resource/challenge", "RFC 9728 §5.1", Should, "the resource's challenge leads to its metadata", needsIssuer, protectedResourceChallenge)

	add("register/echo", "RFC 7591 §3.2.1", Must, "a registration is answered with everything registered", needsIssuer, registerEcho)
	add("register/no-store", "RFC 7591 §3.2.1", Must, "no cache keeps the credentials", needsRegister, registerNoStore)
	add("register/malformed", "RFC 7591 §3.2.2", Must, "what is not JSON is refused", needsRegister, registerMalformed)
	add("register/script", "RFC 7591 §5", Must, "redirect URIs that run script are refused", needsRegister, registerScript)
	add("register/fragment", "RFC 6749 §3.1.2", Must, "a redirect URI with a fragment is refused", needsRegister, registerFragment)
	add("register/relative", "RFC 6749 §3.1.2", Must, "a relative redirect URI is refused", needsRegister, registerRelative)
	add("register/wildcard", "RFC 9700 §4.1.3", Must, "a redirect URI with a wildcard is refused, or literal", needsRegister, registerWildcard)
	add("register/http", "RFC 7591 §5", Should, "a redirect URI without TLS is refused, but for loopback", needsRegister, registerHTTP)
	add("register/jwks", "RFC 7591 §2", Must, "jwks and jwks_uri together are refused", needsRegister, registerJWKS)
	add("register/read", "RFC 7592 §2.1", Must, "a client can read its registration", needsRegister, registerRead)
	add("register/read-auth", "RFC 7592 §2.1", Must, "and nobody without its token", needsRegister, registerReadAuth)
	add("register/update", "RFC 7592 §2.2", Must, "it can update it, but not its client_id", needsRegister, registerUpdate)
	add("register/delete", "RFC 7592 §2.3", Must, "it can delete it, and is gone then", needsRegister, registerDelete)

	add("logout/unregistered", "OpenID Connect RP-Initiated Logout §3", Must, "an unregistered post_logout_redirect_uri is not redirected to", needsIssuer, logoutUnregistered)
	add("logout/redirect", "OpenID Connect RP-Initiated Logout §3", Should, "a registered one is, with state", needsIDToken, logoutRedirect)

	add("cors/endpoints", "Fetch, CORS protocol", May, "what browser applications may call", needsIssuer, corsEndpoints)
}
