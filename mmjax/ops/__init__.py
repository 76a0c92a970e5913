"""Operations with a formulation of their own where a backend's is slow; each equals the plain one to 1e-5."""
