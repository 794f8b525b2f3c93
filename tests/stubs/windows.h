int SwitchToThread(void);
