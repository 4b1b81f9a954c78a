-- Initial access tokens are swept some time after their end.
ALTER TABLE oauthreg_initial_access_tokens ADD KEY oauthreg_initial_access_tokens_expires_at (expires_at);
