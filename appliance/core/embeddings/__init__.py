"""Texts as vectors (DESIGN 10): asked of an OpenAI-compatible server, remembered by hash, always of length one."""

from appliance.core.embeddings.cache import VectorCache as VectorCache
from appliance.core.embeddings.client import Embedder as Embedder
from appliance.core.embeddings.client import HttpEmbedder as HttpEmbedder
from appliance.core.embeddings.models import prefixes_of as prefixes_of
from appliance.core.embeddings.models import related_of as related_of
from appliance.core.embeddings.models import threshold_of as threshold_of
