-- Initial access tokens are swept some time after their end.
CREATE INDEX oauthreg_initial_access_tokens_expires_at ON oauthreg_initial_access_tokens (expires_at);
