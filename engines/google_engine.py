"""Google Gemini (https://ai.google.dev/api)."""

from ..llm_engines import GeminiEngine


class GoogleEngine(GeminiEngine):
    """Engine for the Gemini API, with embeddings."""

    base_url = "https://generativelanguage.googleapis.com"
    model_name = "gemini-3.8-flash"
    prices = "google"
    embedding_model = "gemini-embedding-001"
    embedding_batch = 100
