-- Codes and refresh tokens go with their grants, and access tokens with their own
-- end: no index finds them by what nobody asks for.
DROP INDEX oauthreg_authorize_codes_expires_at;
DROP INDEX oauthreg_refresh_tokens_expires_at;

-- Tokens of client_credentials are revoked by their request's id, unless that is the
-- signature itself, for which grant_id is empty.
DROP INDEX oauthreg_access_tokens_grant;
CREATE INDEX oauthreg_access_tokens_request ON oauthreg_access_tokens (grant_id) WHERE incarnation IS NOT NULL AND grant_id <> '';
