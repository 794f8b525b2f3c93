double sqrt(double x);
float sqrtf(float x);
